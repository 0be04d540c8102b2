//! Registration with pre-auth keys, key rotation, logging out and switching users.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use common::{Client, Town, words};
use headsail_tailnet::command::{Command, Registration, Rejection};
use headsail_tailnet::decide::map_update::node_of;
use headsail_tailnet::model::node::{Expiry, Owner, RegisterMethod};
use headsail_tailnet::model::ticket::TicketState;
use headsail_wire::capver::CapVer;
use headsail_wire::hostinfo::Hostinfo;
use headsail_wire::keys::NodeKey;

#[test]
fn a_reusable_key_registers_many_machines() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    for number in 1..=3 {
        let node = town.join(&Client::new(number, "web"), &key);
        assert_eq!(node.owner, Owner::User(alice));
        assert_eq!(node.method, RegisterMethod::AuthKey);
        assert_eq!(node.auth_key, Some(key.id));
        assert_eq!(node.id.get(), u64::from(number));
    }
}

#[test]
fn a_single_use_key_registers_one_machine() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |k| k.reusable = false);
    town.join(&Client::new(1, "first"), &key);
    let second = Client::new(2, "second");
    assert_eq!(words(town.register(second.shows(&key.text))), "authkey already used");
    assert!(!town.is_in(&second));
}

#[test]
fn a_used_key_readmits_its_machine_unless_the_node_was_expired_or_logged_out() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |k| k.reusable = false);
    let client = Client::new(1, "web");
    let id = town.join(&client, &key).id;
    let restarted = client.rotated(2);
    town.register(restarted.shows(&key.text)).unwrap();
    assert_eq!(town.node(&restarted).id, id);

    town.make(Command::ExpireNode { node: id, at: Some(town.now) });
    for again in [restarted.clone(), restarted.rotated(3)] {
        assert_eq!(words(town.register(again.shows(&key.text))), "authkey already used");
    }
    let other = town.key(alice, |k| k.reusable = false);
    town.register(restarted.shows(&other.text)).unwrap();
    town.register(restarted.logs_out()).unwrap();
    assert_eq!(words(town.register(restarted.rotated(4).shows(&other.text))), "authkey already used");
}

#[test]
fn unknown_and_malformed_keys_are_rejected_alike() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let wrong_secret = format!("{}{}", &key.text[..key.text.len() - 4], "0000");
    let unknown = format!("hskey-auth-{}-{}", "a".repeat(12), "0".repeat(64));
    for text in [wrong_secret.as_str(), unknown.as_str(), "hskey-auth-", "tskey-auth-x-y", "日本"] {
        let client = Client::new(1, "web");
        assert_eq!(words(town.register(client.shows(text))), "invalid pre auth key", "{text}");
    }
    assert_eq!(town.t.node_count(), 0);
    town.register(Client::new(1, "web").shows("")).unwrap();
    assert_eq!(town.t.tickets().count(), 1, "an empty text is not a key, so the login has to be approved");
}

#[test]
fn expired_revoked_and_deleted_keys_are_rejected() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let soon = town.now.plus_secs(60);
    let expires = town.key(alice, |k| k.expiration = Some(soon));
    let revoked = town.key(alice, |_| {});
    let deleted = town.key(alice, |_| {});
    town.make(Command::ExpireAuthKey(revoked.id));
    town.make(Command::DeleteAuthKey(deleted.id));
    town.join(&Client::new(1, "in-time"), &expires);
    town.pass(60);
    for (key, reason) in
        [(&expires, "authkey expired"), (&revoked, "authkey expired"), (&deleted, "invalid pre auth key")]
    {
        assert_eq!(words(town.register(Client::new(2, "late").shows(&key.text))), reason);
    }
    assert_eq!(town.t.node_count(), 1);
}

#[test]
fn a_registered_node_may_send_its_key_again_even_if_the_key_was_deleted() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |k| k.reusable = false);
    let client = Client::new(1, "web");
    let before = town.join(&client, &key);
    town.make(Command::DeleteAuthKey(key.id));
    town.register(client.shows(&key.text)).unwrap();
    town.register(client.shows("no key at all")).unwrap();
    let after = town.node(&client);
    assert_eq!((after.id, after.node_key, after.auth_key), (before.id, before.node_key, None));
}

#[test]
fn a_machine_may_register_again_with_its_single_use_key() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |k| k.reusable = false);
    let client = Client::new(1, "web");
    let before = town.join(&client, &key);
    let restarted = Client { node: NodeKey::from_bytes([9; 32]), ..client };
    assert_eq!(town.join(&restarted, &key).id, before.id);
}

#[test]
fn registering_again_uses_up_no_key_and_keeps_the_owner() {
    let mut town = Town::new();
    let (alice, bob) = (town.user("alice"), town.user("bob"));
    let key = town.key(alice, |_| {});
    let other = town.key(bob, |k| k.reusable = false);
    let client = Client::new(1, "web");
    town.join(&client, &key);
    town.register(client.shows(&other.text)).unwrap();
    assert_eq!(town.node(&client).owner, Owner::User(alice));
    assert!(!town.t.auth_key(other.id).unwrap().used, "the key can still register a machine");
}

#[test]
fn registering_again_without_changes_is_a_no_op() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let client = Client::new(1, "web").at_relay(3);
    town.join(&client, &key);
    assert_eq!(town.register(client.asks()).unwrap(), Vec::new());
}

#[test]
fn key_rotation_keeps_id_addresses_and_name() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let client = Client::new(1, "web");
    let before = town.join(&client, &key);
    let rotated = client.rotated(11);
    let after = town.join(&rotated, &key);
    assert_eq!((after.id, after.v4, after.v6, &after.name), (before.id, before.v4, before.v6, &before.name));
    assert!(!town.is_in(&client), "the old key is no longer known");
    assert!(node_of(&town.t, &client.machine, &client.node).is_err());
    assert!(node_of(&town.t, &rotated.machine, &rotated.node).is_ok());
    assert_eq!(town.t.node_count(), 1);
}

#[test]
fn sending_the_old_key_again_does_not_rotate_again() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let client = Client::new(1, "web");
    town.join(&client, &key);
    let rotated = client.rotated(11);
    town.join(&rotated, &key);
    assert_eq!(town.register(rotated.asks()).unwrap(), Vec::new());
}

#[test]
fn logging_out_expires_the_node_and_logging_in_again_revives_it() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let client = Client::new(1, "web");
    let before = town.join(&client, &key);
    town.register(client.logs_out()).unwrap();
    assert_eq!(town.node(&client).expiry, Expiry::Passed(town.now));
    assert_eq!(town.register(client.asks()), Err(Rejection::KeyExpired), "the client creates a new key");
    assert_eq!(town.register(client.logs_out()).unwrap(), Vec::new(), "logging out twice is a no-op");
    let back = town.join(&client.rotated(11), &key);
    assert_eq!((back.id, back.v4, back.expiry), (before.id, before.v4, Expiry::Never));
}

#[test]
fn logging_out_ignores_a_pre_auth_key_in_the_request() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let client = Client::new(1, "web");
    town.join(&client, &key);
    town.register(Registration { auth_key: client.shows(&key.text).auth_key, ..client.logs_out() }).unwrap();
    assert!(town.node(&client).expiry.is_past());
}

#[test]
fn logging_out_an_unknown_node_key_is_a_no_op() {
    let mut town = Town::new();
    assert_eq!(town.register(Client::new(1, "web").logs_out()).unwrap(), Vec::new());
    assert_eq!(town.t.tickets().count(), 0);
}

#[test]
fn logging_in_as_a_different_user_gives_a_different_node() {
    let mut town = Town::new();
    let (alice, bob) = (town.user("alice"), town.user("bob"));
    let (key, other) = (town.key(alice, |_| {}), town.key(bob, |_| {}));
    let client = Client::new(1, "web");
    let first = town.join(&client, &key);
    let as_bob = client.rotated(11);
    let second = town.join(&as_bob, &other);
    assert_ne!(first.id, second.id);
    assert_ne!(first.v4, second.v4);
    assert_eq!(town.node(&client).owner, Owner::User(alice), "the first node stays with its owner");
    // Switching back returns to the first node.
    let back = Client { node: NodeKey::from_bytes([12; 32]), old: as_bob.node, ..client };
    assert_eq!(town.join(&back, &key).id, first.id);
    assert_eq!(town.t.node_count(), 2);
}

#[test]
fn two_nodes_of_a_machine_never_share_a_key() {
    let mut town = Town::new();
    let (alice, bob) = (town.user("alice"), town.user("bob"));
    let (key, other) = (town.key(alice, |_| {}), town.key(bob, |_| {}));
    let client = Client::new(1, "web");
    let first = town.join(&client, &key);
    town.register(client.logs_out()).unwrap();
    // The machine logs in as bob with the same key: the first node stays with alice, with a key that nobody has.
    let second = town.join(&client, &other);
    let kept = town.t.node(first.id).unwrap().clone();
    assert_eq!((kept.owner.user(), kept.v4, kept.expiry.is_past()), (Some(alice), first.v4, true));
    assert_eq!((second.owner.user(), second.node_key), (Some(bob), client.node));
    assert!(second.id > first.id && kept.node_key != client.node && second.v4 != first.v4);
    assert_eq!(town.t.node_by_key(&kept.node_key).map(|n| n.id), Some(first.id));
    // Clients cannot handle a key that moves to a node with a lower id in the same frame, so a new key is required.
    town.register(client.logs_out()).unwrap();
    assert_eq!(town.register(client.shows(&key.text)), Err(Rejection::KeyExpired));
    assert_eq!(town.join(&client.rotated(11), &key).id, first.id);
    assert_eq!(town.t.node_count(), 2);
}

#[test]
fn approving_an_outdated_login_does_not_take_the_key_of_a_registered_node() {
    let mut town = Town::new();
    let (alice, bob) = (town.user("alice"), town.user("bob"));
    let key = town.key(alice, |_| {});
    let client = Client::new(1, "web");
    // A login is pending for the node key with which the machine then registers by other means.
    town.register(client.asks()).unwrap();
    let ticket = town.waiting().id.clone();
    let first = town.join(&client, &key);
    town.make(Command::GrantTicket { ticket: ticket.clone(), user: bob });
    assert!(matches!(&town.t.ticket(&ticket).unwrap().state, TicketState::Refused(_)));
    assert_eq!(town.node(&client), first);
}

#[test]
fn registering_without_hostinfo_keeps_what_is_known() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let mut client = Client::new(1, "web").at_relay(3);
    client.host.routable_ips = vec!["10.0.0.0/8".parse().unwrap()];
    client.host.ssh_host_keys = vec!["ssh-ed25519 AAAA".into()];
    let before = town.join(&client, &key);
    let silent = Client { host: Hostinfo::default(), ..client.clone() };
    let same = |town: &Town, client: &Client| {
        let now = town.node(client);
        assert_eq!(
            (&now.hostname, &now.name, &now.hostinfo),
            (&before.hostname, &before.name, &before.hostinfo)
        );
        assert_eq!(now.contact, before.contact);
    };
    assert_eq!(town.register(silent.asks()).unwrap(), Vec::new());
    town.register(silent.logs_out()).unwrap();
    town.join(&silent, &key);
    same(&town, &silent);
    town.join(&silent.rotated(11), &key);
    same(&town, &silent.rotated(11));
    town.lite_update(&silent.rotated(11));
    same(&town, &silent.rotated(11));
    // A login that has to be approved keeps the hostinfo that was sent first.
    let asks = client.rotated(12);
    town.register(asks.asks()).unwrap();
    town.register(Client { host: Hostinfo::default(), ..asks.clone() }.asks()).unwrap();
    let ticket = town.waiting();
    assert_eq!(ticket.asking.hostinfo.hostname, "web");
    town.make(Command::GrantTicket { ticket: ticket.id.clone(), user: alice });
    same(&town, &asks);
}

#[test]
fn another_machine_cannot_use_take_over_or_log_out_a_node() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let victim = Client::new(1, "web");
    let before = town.join(&victim, &key);
    let thief = Client { machine: Client::new(2, "thief").machine, ..victim.clone() };
    for registration in [thief.asks(), thief.shows(&key.text), thief.logs_out()] {
        assert_eq!(town.register(registration), Err(Rejection::Foreign));
    }
    assert_eq!(node_of(&town.t, &thief.machine, &victim.node), Err(Rejection::Foreign));
    // Claiming the key as its previous one gives the other machine a node of its own.
    let claims = Client { node: NodeKey::from_bytes([7; 32]), old: victim.node, ..thief };
    assert_ne!(town.join(&claims, &key).id, before.id);
    assert_eq!(town.node(&victim), before);
}

#[test]
fn map_requests_need_a_known_node_key() {
    let town = Town::new();
    let client = Client::new(1, "web");
    assert!(matches!(node_of(&town.t, &client.machine, &client.node), Err(Rejection::NotFound(_))));
    assert!(matches!(node_of(&town.t, &client.machine, &NodeKey::default()), Err(Rejection::Invalid(_))));
}

#[test]
fn a_client_below_the_floor_is_rejected_with_a_clear_message_and_no_effect() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |k| k.reusable = false);
    let old = Client { cap: CapVer(112), ..Client::new(1, "web") };
    for registration in [old.shows(&key.text), old.asks()] {
        let text = words(town.register(registration));
        assert!(text.contains("too old") && text.contains("112") && text.contains("1.80"), "{text}");
    }
    assert_eq!((town.t.node_count(), town.t.tickets().count()), (0, 0));
    assert!(!town.t.auth_key(key.id).unwrap().used);
    town.join(&Client { cap: CapVer::FLOOR, ..old }, &key);
}

#[test]
fn a_zero_node_key_is_rejected() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let client = Client { node: NodeKey::default(), ..Client::new(1, "web") };
    assert!(matches!(town.register(client.shows(&key.text)), Err(Rejection::Invalid(_))));
}

#[test]
fn deleting_a_user_deletes_its_keys_and_the_nodes_references_to_them() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |k| k.tags = common::tags(&["tag:web"]));
    let client = Client::new(1, "web");
    assert_eq!(town.join(&client, &key).auth_key, Some(key.id));
    town.make(Command::DestroyUser(alice));
    assert!(town.t.auth_key(key.id).is_none());
    assert_eq!(town.node(&client).auth_key, None);
}

#[test]
fn a_user_with_nodes_cannot_be_deleted() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    town.join(&Client::new(1, "web"), &key);
    assert!(matches!(town.try_to(Command::DestroyUser(alice)), Err(Rejection::Conflict(_))));
    assert!(town.t.user(alice).is_some() && town.t.auth_key(key.id).is_some());
}

#[test]
fn a_user_cannot_be_renamed_to_a_name_that_is_taken() {
    let mut town = Town::new();
    let (alice, _bob) = (town.user("alice"), town.user("bob"));
    let name = "bob".to_owned();
    assert!(matches!(town.try_to(Command::RenameUser { user: alice, name }), Err(Rejection::Conflict(_))));
    town.make(Command::RenameUser { user: alice, name: "carol".into() });
    assert_eq!(town.t.user(alice).unwrap().name, "carol");
}
