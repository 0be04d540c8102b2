//! Logins that a person has to approve.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use common::{Client, Town, words};
use headsail_tailnet::command::{Command, Registration, Rejection};
use headsail_tailnet::model::node::{Expiry, Owner, RegisterMethod};
use headsail_tailnet::model::ticket::TicketState;
use headsail_wire::hostinfo::Hostinfo;

#[test]
fn a_machine_without_a_key_waits_until_its_login_is_approved() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let client = Client::new(1, "web");
    town.register(client.asks()).unwrap();
    assert!(!town.is_in(&client));
    let ticket = town.waiting();
    assert!(ticket.id.starts_with("hskey-authreq-") && ticket.id.len() == 38, "{}", ticket.id);
    assert_eq!((ticket.asking.machine_key, ticket.asking.node_key), (client.machine, client.node));
    town.make(Command::GrantTicket { ticket: ticket.id.clone(), user: alice });
    let node = town.node(&client);
    assert_eq!((&node.owner, node.method), (&Owner::User(alice), RegisterMethod::Cli));
    assert_eq!(town.t.ticket(&ticket.id).unwrap().state, TicketState::Granted);
    // The client's next registration finds that the node exists.
    town.register(client.asks()).unwrap();
    assert_eq!(town.node(&client).id, node.id);
}

#[test]
fn repeating_a_request_returns_the_same_login() {
    let mut town = Town::new();
    let client = Client::new(1, "web").asking_for(&["tag:a", "tag:b"]).located_at("192.0.2.1");
    town.register(client.asks()).unwrap();
    let roamed = client.clone().asking_for(&["tag:b", "tag:a"]).located_at("192.0.2.2");
    let silent = Registration { hostinfo: Hostinfo::default(), ..client.asks() };
    for again in [client.asks(), roamed.asks(), silent] {
        assert_eq!(town.register(again).unwrap(), Vec::new());
    }
    assert_eq!(town.waiting().asking.source, client.source);
}

#[test]
fn a_changed_request_is_a_new_login_and_the_old_one_grants_nothing() {
    let client = Client::new(1, "web");
    let asks = client.asks();
    let mut routed = client.asks();
    routed.hostinfo.routable_ips = vec!["10.0.0.0/8".parse().unwrap()];
    let later = |town: &Town| Some(town.now.plus_secs(500));
    let changed = [
        client.clone().asking_for(&["tag:web"]).asks(),
        routed,
        Registration { expiry: later(&Town::new()), ..client.asks() },
        Registration { ephemeral: true, ..client.asks() },
        Client { host: Client::new(1, "db").host, ..client.clone() }.asks(),
        Registration { old_node_key: Client::new(7, "x").node, ..client.asks() },
    ];
    for other in changed {
        let mut town = Town::new();
        let alice = town.user("alice");
        town.register(Registration { hostinfo: asks.hostinfo.clone(), ..client.asks() }).unwrap();
        let seen = town.waiting();
        town.register(other).unwrap();
        let next = town.waiting();
        assert_ne!(seen.id, next.id);
        assert!(next.replaces && !seen.replaces);
        let approval = Command::GrantTicket { ticket: seen.id.clone(), user: alice };
        assert!(matches!(town.try_to(approval), Err(Rejection::NotFound(_))));
        assert!(!town.is_in(&client));
    }
}

#[test]
fn a_new_node_key_is_a_new_login_and_a_machine_has_two_at_most() {
    let mut town = Town::new();
    let client = Client::new(1, "web");
    let mut ids = Vec::new();
    for number in 1..=40 {
        town.register(client.rotated(number).asks()).unwrap();
        let newest = town.t.tickets().find(|k| k.asking.node_key == client.rotated(number).node).unwrap();
        ids.push(newest.id.clone());
        assert!(town.t.tickets().count() <= 2);
        town.pass(1);
    }
    let kept: Vec<bool> = ids.iter().map(|id| town.t.ticket(id).is_some()).collect();
    assert_eq!(&kept[37..], [false, true, true], "the oldest is dropped first");
    town.make(Command::RefuseTicket { ticket: ids[39].clone() });
    town.register(client.rotated(41).asks()).unwrap();
    assert!(town.t.ticket(&ids[38]).is_some() && town.t.ticket(&ids[39]).is_none(), "settled ones go first");
}

#[test]
fn one_address_cannot_push_out_the_logins_of_others() {
    for flooders in [["192.0.2.66"; 2], ["2001:db8::1", "2001:db8::2:0:0:1"]] {
        let mut town = Town::with(|s| s.max_tickets = 8);
        let honest = Client::new(1, "web").located_at("198.51.100.1");
        let neighbour = Client::new(2, "web").located_at("198.51.100.2");
        town.register(honest.asks()).unwrap();
        for number in 10..100 {
            let flooder = Client::new(number, "x").located_at(flooders[usize::from(number % 2)]);
            town.register(flooder.asks()).unwrap();
            if number == 50 {
                town.register(neighbour.asks()).unwrap();
            }
            assert!(town.t.tickets().count() <= 8);
            town.pass(1);
        }
        for client in [honest, neighbour] {
            let kept = town.t.tickets().any(|k| k.asking.machine_key == client.machine);
            assert!(kept, "{flooders:?} pushed out {:?}", client.source);
        }
    }
}

#[test]
fn an_address_may_fill_the_table_if_nobody_else_needs_it() {
    let mut town = Town::with(|s| s.max_tickets = 100);
    for number in 1..=100 {
        town.register(Client::new(number, "web").located_at("127.0.0.1").asks()).unwrap();
    }
    assert_eq!(town.t.tickets().count(), 100);
}

#[test]
fn a_decision_is_kept_for_clients_that_ask_late() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let client = Client::new(1, "web");
    town.register(client.asks()).unwrap();
    let ticket = town.waiting().id.clone();
    town.make(Command::GrantTicket { ticket: ticket.clone(), user: alice });
    town.pass(600);
    assert_eq!(town.t.ticket(&ticket).unwrap().state, TicketState::Granted);
    town.pass(600);
    assert!(town.t.ticket(&ticket).is_none(), "the login is deleted after a while");
}

#[test]
fn a_login_belongs_to_the_machine_and_node_key_that_requested_it() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let (client, other) = (Client::new(1, "web"), Client::new(2, "web"));
    town.register(client.asks()).unwrap();
    let ticket = town.waiting().id.clone();
    town.register(other.asks()).unwrap();
    town.make(Command::GrantTicket { ticket, user: alice });
    assert!(town.is_in(&client) && !town.is_in(&other));
}

#[test]
fn a_denied_login_creates_no_node() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let client = Client::new(1, "web");
    town.register(client.asks()).unwrap();
    let ticket = town.waiting().id.clone();
    town.make(Command::RefuseTicket { ticket: ticket.clone() });
    assert!(matches!(&town.t.ticket(&ticket).unwrap().state, TicketState::Refused(why) if !why.is_empty()));
    let again = Command::GrantTicket { ticket: ticket.clone(), user: alice };
    assert!(matches!(town.try_to(again), Err(Rejection::Conflict(_))), "a decision is final");
    assert!(!town.is_in(&client));
    town.register(client.asks()).unwrap();
    assert_ne!(town.waiting().id, ticket, "a new request is a new login");
}

#[test]
fn messages_about_unknown_logins_and_users_name_them() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let text = words(town.try_to(Command::GrantTicket { ticket: "hskey-authreq-none".into(), user: alice }));
    assert!(text.contains("`hskey-authreq-none`"), "{text}");
    town.register(Client::new(1, "web").asks()).unwrap();
    let ticket = town.waiting().id.clone();
    let nobody = headsail_wire::ids::UserId::new(77).unwrap();
    assert!(words(town.try_to(Command::GrantTicket { ticket, user: nobody })).contains("`77`"));
    assert!(town.t.tickets().all(|k| k.state == TicketState::Waiting));
}

#[test]
fn logins_time_out_even_after_the_configuration_was_reloaded() {
    let mut town = Town::new();
    town.register(Client::new(1, "web").asks()).unwrap();
    let settings = town.t.settings().clone();
    town.make(Command::Configure(settings));
    town.pass(14 * 60);
    assert_eq!(town.t.tickets().count(), 1);
    town.pass(61);
    assert_eq!(town.t.tickets().count(), 0);
}

#[test]
fn the_number_of_logins_is_bounded_and_settled_ones_are_dropped_first() {
    let mut town = Town::with(|s| s.max_tickets = 3);
    for number in 1..=3 {
        town.register(Client::new(number, "web").asks()).unwrap();
        town.pass(1);
    }
    let newest = town.t.tickets().max_by_key(|k| k.until).unwrap().id.clone();
    town.make(Command::RefuseTicket { ticket: newest.clone() });
    town.register(Client::new(4, "web").asks()).unwrap();
    assert_eq!(town.t.tickets().count(), 3);
    assert!(town.t.ticket(&newest).is_none(), "the settled one is dropped first");
    town.register(Client::new(5, "web").asks()).unwrap();
    assert_eq!(town.t.tickets().count(), 3);
    assert!(
        town.t.tickets().all(|k| k.asking.machine_key != Client::new(1, "web").machine),
        "then the oldest"
    );
}

#[test]
fn a_forced_login_of_the_same_user_keeps_the_node() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let client = Client::new(1, "web");
    let before = town.join(&client, &key);
    let rotated = client.rotated(11);
    town.register(rotated.asks()).unwrap();
    assert!(town.is_in(&client), "the old key works until the login is approved");
    let ticket = town.waiting().id.clone();
    town.make(Command::GrantTicket { ticket, user: alice });
    let after = town.node(&rotated);
    assert_eq!((after.id, after.v4, &after.name), (before.id, before.v4, &before.name));
    assert!(!town.is_in(&client));
}

#[test]
fn a_login_is_denied_if_another_machine_has_registered_its_node_key() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let waits = Client::new(1, "web");
    town.register(waits.asks()).unwrap();
    let quick = Client { machine: Client::new(2, "x").machine, ..waits.clone() };
    let holder = town.join(&quick, &key);
    let ticket = town.waiting().id.clone();
    town.make(Command::GrantTicket { ticket: ticket.clone(), user: alice });
    assert!(matches!(town.t.ticket(&ticket).unwrap().state, TicketState::Refused(_)));
    assert_eq!(town.t.node_by_key(&waits.node).unwrap().id, holder.id);
    assert_eq!(town.t.node_count(), 1);
}

#[test]
fn a_pre_auth_key_used_while_a_login_is_pending_wins() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let client = Client::new(1, "web");
    town.register(client.asks()).unwrap();
    let ticket = town.waiting().id.clone();
    let node = town.join(&client, &key);
    town.make(Command::GrantTicket { ticket, user: alice });
    assert_eq!((town.node(&client).id, town.t.node_count()), (node.id, 1));
}

#[test]
fn a_login_overtaken_by_another_owner_tells_the_user_what_to_do() {
    let mut town = Town::new();
    let (alice, bob) = (town.user("alice"), town.user("bob"));
    let client = Client::new(1, "web");
    town.register(client.asks()).unwrap();
    let ticket = town.waiting().id.clone();
    let key = town.key(bob, |_| {});
    let node = town.join(&client, &key);
    town.make(Command::GrantTicket { ticket: ticket.clone(), user: alice });
    let state = town.t.ticket(&ticket).unwrap().state.clone();
    assert!(matches!(&state, TicketState::Refused(why) if why.contains("--force-reauth")), "{state:?}");
    assert_eq!(town.node(&client).owner, node.owner);
}

#[test]
fn an_approved_login_keeps_the_requested_expiry() {
    let mut town = Town::with(|s| s.node_expiry = Some(1000));
    let alice = town.user("alice");
    let client = Client::new(1, "web");
    let wish = town.now.plus_secs(500);
    town.register(Registration { expiry: Some(wish), ..client.asks() }).unwrap();
    let ticket = town.waiting().id.clone();
    town.make(Command::GrantTicket { ticket, user: alice });
    assert_eq!(town.node(&client).expiry, Expiry::At(wish));
}
