//! What a client reports when it opens a map stream, and which parts are stored.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use common::{Client, Town};
use headsail_tailnet::command::Command;
use headsail_tailnet::model::node::StreamNo;
use headsail_wire::hostinfo::Hostinfo;
use headsail_wire::keys::DiscoKey;

/// A tailnet in which `client` has registered.
fn with(client: &Client) -> Town {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    town.join(client, &key);
    town
}

fn stale() -> Client {
    let mut stale = Client::new(1, "stale").at("192.0.2.1:1").at_relay(1).with_disco(1);
    stale.host.os = "plan9".into();
    stale
}

#[test]
fn a_stream_does_not_replace_the_hostinfo_of_the_registration() {
    let client = Client::new(1, "web");
    let mut town = with(&client);
    town.open(&stale(), 1);
    let node = town.node(&client);
    assert_eq!((node.name.as_str(), &*node.hostinfo), ("web", &client.host));
    let told = (node.contact.endpoints.len(), node.contact.home_derp(), node.contact.disco_key);
    assert_eq!(told, (1, 1, stale().disco), "the rest was unknown");
}

#[test]
fn a_stream_fills_in_each_unknown_part_independently() {
    let client = Client::new(1, "web");
    for (known, ought) in [
        (client.clone().at("192.0.2.2:2"), ("192.0.2.2:2", 1, 1)),
        (client.clone().with_disco(2), ("192.0.2.1:1", 1, 2)),
        (client.clone().at_relay(2), ("192.0.2.1:1", 2, 1)),
    ] {
        let mut town = with(&client);
        town.lite_update(&known);
        town.open(&stale(), 1);
        let contact = &town.node(&client).contact;
        let is = (contact.endpoints[0].to_string(), contact.home_derp(), contact.disco_key);
        assert_eq!(is, (ought.0.to_owned(), ought.1, DiscoKey::from_bytes([ought.2; 32])));
    }
}

#[test]
fn a_stream_provides_the_hostinfo_that_the_registration_lacked() {
    let silent = Client { host: Hostinfo::default(), ..Client::new(1, "") };
    let mut town = with(&silent);
    assert_eq!(town.node(&silent).name, "node");
    let mut telling = stale().tells();
    telling.hostinfo = None;
    let node = town.node(&silent).id;
    town.make(Command::StreamOpened { node, stream: StreamNo(1), telling: Box::new(telling) });
    assert_eq!(town.node(&silent).name, "node");
    town.open(&stale(), 2);
    let known = town.node(&silent);
    assert_eq!((known.name.as_str(), known.hostinfo.os.as_str()), ("stale", "plan9"));
}

#[test]
fn approving_a_login_keeps_the_parts_of_hostinfo_that_were_not_stored_with_it() {
    let mut client = Client::new(1, "web");
    client.host.ssh_host_keys = vec!["ssh-ed25519 AAAA".into()];
    let mut town = with(&client);
    let mut again = client.rotated(11);
    again.host.os = "linux".into();
    town.register(again.asks()).unwrap();
    let ticket = town.waiting();
    assert!(ticket.asking.hostinfo.ssh_host_keys.is_empty());
    let user = town.t.users().next().unwrap().id;
    town.make(Command::GrantTicket { ticket: ticket.id.clone(), user });
    assert_eq!(*town.node(&again).hostinfo, again.host);
}

#[test]
fn the_first_stream_after_a_login_provides_the_parts_that_were_not_stored_with_it() {
    let mut client = Client::new(1, "web").with_disco(1);
    client.host.ssh_host_keys = vec!["ssh-ed25519 AAAA".into()];
    let mut town = Town::new();
    let user = town.user("alice");
    town.register(client.asks()).unwrap();
    let ticket = town.waiting().id.clone();
    town.make(Command::GrantTicket { ticket, user });
    let other =
        Client { host: Hostinfo { hostname: "other".into(), ..client.host.clone() }, ..client.clone() };
    town.open(&other, 1);
    assert_eq!(*town.node(&client).hostinfo, client.host);
    // From then on, the hostinfo is known.
    let without = Client { host: Client::new(1, "web").host, ..client.clone() };
    town.lite_update(&without);
    town.open(&client, 2);
    assert_eq!(*town.node(&client).hostinfo, without.host);
}
