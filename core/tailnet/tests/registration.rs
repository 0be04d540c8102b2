//! Registration with keys, and what becomes of it: the rows of the server's decision table, and checks B04, B09, B10 and B13.
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
fn a_reusable_key_lets_many_machines_in() {
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
fn b04_a_one_shot_key_lets_one_machine_in() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |k| k.reusable = false);
    town.join(&Client::new(1, "first"), &key);
    let second = Client::new(2, "second");
    assert_eq!(words(town.register(second.shows(&key.text))), "authkey already used");
    assert!(!town.is_in(&second));
}

#[test]
fn a_spent_key_brings_back_a_machine_but_not_one_whose_login_was_ended() {
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
fn b04_unknown_and_misspelt_keys_are_refused_alike() {
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
    assert_eq!(
        town.t.tickets().count(),
        1,
        "an empty text is no key at all: a person has to let the machine in"
    );
}

#[test]
fn b04_expired_revoked_and_deleted_keys_are_refused() {
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
fn b04_a_node_that_is_in_may_show_its_key_again_whatever_became_of_it() {
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
fn a_machine_may_come_back_with_the_one_shot_key_that_let_it_in() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |k| k.reusable = false);
    let client = Client::new(1, "web");
    let before = town.join(&client, &key);
    let restarted = Client { node: NodeKey::from_bytes([9; 32]), ..client };
    assert_eq!(town.join(&restarted, &key).id, before.id);
}

#[test]
fn showing_itself_again_spends_no_key_and_changes_no_owner() {
    let mut town = Town::new();
    let (alice, bob) = (town.user("alice"), town.user("bob"));
    let key = town.key(alice, |_| {});
    let other = town.key(bob, |k| k.reusable = false);
    let client = Client::new(1, "web");
    town.join(&client, &key);
    town.register(client.shows(&other.text)).unwrap();
    assert_eq!(town.node(&client).owner, Owner::User(alice));
    assert!(!town.t.auth_key(other.id).unwrap().used, "the key is still good for a machine");
}

#[test]
fn showing_itself_again_without_news_changes_nothing() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let client = Client::new(1, "web").at_relay(3);
    town.join(&client, &key);
    assert_eq!(town.register(client.asks()).unwrap(), Vec::new());
}

#[test]
fn b09_a_new_key_of_the_same_node_keeps_number_addresses_and_name() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let client = Client::new(1, "web");
    let before = town.join(&client, &key);
    let rotated = client.rotated(11);
    let after = town.join(&rotated, &key);
    assert_eq!((after.id, after.v4, after.v6, &after.name), (before.id, before.v4, before.v6, &before.name));
    assert!(!town.is_in(&client), "the old key is not known any more");
    assert!(node_of(&town.t, &client.machine, &client.node).is_err());
    assert!(node_of(&town.t, &rotated.machine, &rotated.node).is_ok());
    assert_eq!(town.t.node_count(), 1);
}

#[test]
fn b09_an_old_key_that_is_sent_for_ever_does_not_rotate_again() {
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
fn b10_logging_out_expires_the_node_and_logging_in_again_keeps_it() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let client = Client::new(1, "web");
    let before = town.join(&client, &key);
    town.register(client.logs_out()).unwrap();
    assert_eq!(town.node(&client).expiry, Expiry::Passed(town.now));
    assert_eq!(town.register(client.asks()), Err(Rejection::KeyExpired), "the client makes a new key");
    assert_eq!(town.register(client.logs_out()).unwrap(), Vec::new(), "once is enough");
    let back = town.join(&client.rotated(11), &key);
    assert_eq!((back.id, back.v4, back.expiry), (before.id, before.v4, Expiry::Never));
}

#[test]
fn b10_logging_out_ignores_the_key_that_comes_with_it() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let client = Client::new(1, "web");
    town.join(&client, &key);
    town.register(Registration { auth_key: client.shows(&key.text).auth_key, ..client.logs_out() }).unwrap();
    assert!(town.node(&client).expiry.is_past());
}

#[test]
fn logging_out_a_key_that_nobody_knows_does_nothing() {
    let mut town = Town::new();
    assert_eq!(town.register(Client::new(1, "web").logs_out()).unwrap(), Vec::new());
    assert_eq!(town.t.tickets().count(), 0);
}

#[test]
fn b10_whoever_logs_in_as_another_user_gets_another_node() {
    let mut town = Town::new();
    let (alice, bob) = (town.user("alice"), town.user("bob"));
    let (key, other) = (town.key(alice, |_| {}), town.key(bob, |_| {}));
    let client = Client::new(1, "web");
    let first = town.join(&client, &key);
    let as_bob = client.rotated(11);
    let second = town.join(&as_bob, &other);
    assert_ne!(first.id, second.id);
    assert_ne!(first.v4, second.v4);
    assert_eq!(town.node(&client).owner, Owner::User(alice), "the first stays with its owner");
    // Switching back finds the first one again.
    let back = Client { node: NodeKey::from_bytes([12; 32]), old: as_bob.node, ..client };
    assert_eq!(town.join(&back, &key).id, first.id);
    assert_eq!(town.t.node_count(), 2);
}

#[test]
fn two_nodes_of_a_machine_never_have_one_key() {
    let mut town = Town::new();
    let (alice, bob) = (town.user("alice"), town.user("bob"));
    let (key, other) = (town.key(alice, |_| {}), town.key(bob, |_| {}));
    let client = Client::new(1, "web");
    let first = town.join(&client, &key);
    town.register(client.logs_out()).unwrap();
    // As somebody else, with the key that it had: the first one stays with its owner, under a key that nobody has.
    let second = town.join(&client, &other);
    let kept = town.t.node(first.id).unwrap().clone();
    assert_eq!((kept.owner.user(), kept.v4, kept.expiry.is_past()), (Some(alice), first.v4, true));
    assert_eq!((second.owner.user(), second.node_key), (Some(bob), client.node));
    assert!(second.id > first.id && kept.node_key != client.node && second.v4 != first.v4);
    assert_eq!(town.t.node_by_key(&kept.node_key).map(|n| n.id), Some(first.id));
    // Clients that are told in one frame trip over a key that moves to an older node, so that one gets a new key.
    town.register(client.logs_out()).unwrap();
    assert_eq!(town.register(client.shows(&key.text)), Err(Rejection::KeyExpired));
    assert_eq!(town.join(&client.rotated(11), &key).id, first.id);
    assert_eq!(town.t.node_count(), 2);
}

#[test]
fn a_machine_that_is_in_does_not_lose_its_key_to_itself() {
    let mut town = Town::new();
    let (alice, bob) = (town.user("alice"), town.user("bob"));
    let key = town.key(alice, |_| {});
    let client = Client::new(1, "web");
    // A login waits under the key with which the machine comes in otherwise meanwhile.
    town.register(client.asks()).unwrap();
    let ticket = town.waiting().id.clone();
    let first = town.join(&client, &key);
    town.make(Command::GrantTicket { ticket: ticket.clone(), user: bob });
    assert!(matches!(&town.t.ticket(&ticket).unwrap().state, TicketState::Refused(_)));
    assert_eq!(town.node(&client), first);
}

#[test]
fn registering_without_a_host_leaves_everything_as_it_was() {
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
    // A login that a person decides keeps the host that was told first.
    let asks = client.rotated(12);
    town.register(asks.asks()).unwrap();
    town.register(Client { host: Hostinfo::default(), ..asks.clone() }.asks()).unwrap();
    let ticket = town.waiting();
    assert_eq!(ticket.asking.hostinfo.hostname, "web");
    town.make(Command::GrantTicket { ticket: ticket.id.clone(), user: alice });
    same(&town, &asks);
}

#[test]
fn b13_a_foreign_machine_can_neither_use_nor_take_nor_log_out_a_node() {
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
    // Naming it as the key that it had before gives it a node of its own.
    let claims = Client { node: NodeKey::from_bytes([7; 32]), old: victim.node, ..thief };
    assert_ne!(town.join(&claims, &key).id, before.id);
    assert_eq!(town.node(&victim), before);
}

#[test]
fn map_requests_need_a_node_key_that_is_known() {
    let town = Town::new();
    let client = Client::new(1, "web");
    assert!(matches!(node_of(&town.t, &client.machine, &client.node), Err(Rejection::NotFound(_))));
    assert!(matches!(node_of(&town.t, &client.machine, &NodeKey::default()), Err(Rejection::Invalid(_))));
}

#[test]
fn a_client_below_the_floor_is_refused_clearly_and_creates_nothing() {
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
fn a_zero_node_key_is_refused() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let client = Client { node: NodeKey::default(), ..Client::new(1, "web") };
    assert!(matches!(town.register(client.shows(&key.text)), Err(Rejection::Invalid(_))));
}

#[test]
fn a_destroyed_user_takes_its_keys_along_and_nodes_do_not_name_them_any_more() {
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
fn a_user_with_nodes_is_not_destroyed() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    town.join(&Client::new(1, "web"), &key);
    assert!(matches!(town.try_to(Command::DestroyUser(alice)), Err(Rejection::Conflict(_))));
    assert!(town.t.user(alice).is_some() && town.t.auth_key(key.id).is_some());
}

#[test]
fn user_names_are_unique_also_after_a_rename() {
    let mut town = Town::new();
    let (alice, _bob) = (town.user("alice"), town.user("bob"));
    let name = "bob".to_owned();
    assert!(matches!(town.try_to(Command::RenameUser { user: alice, name }), Err(Rejection::Conflict(_))));
    town.make(Command::RenameUser { user: alice, name: "carol".into() });
    assert_eq!(town.t.user(alice).unwrap().name, "carol");
}
