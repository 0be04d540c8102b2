//! Lifetimes: key expiry, ephemeral nodes, deletion and presence.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use std::sync::Arc;

use common::{Client, Town, step};
use headsail_tailnet::change::Change;
use headsail_tailnet::command::{Command, Registration, Rejection};
use headsail_tailnet::delta::Delta;
use headsail_tailnet::model::node::{Expiry, MAX_TOMBSTONES, Presence, StreamNo, TOMBSTONE_SECS, Tombstone};
use headsail_tailnet::tailnet::{Tailnet, revive};
use headsail_wire::dns::DnsConfig;
use headsail_wire::ids::NodeId;
use headsail_wire::keys::{MachineKey, NodeKey};
use headsail_wire::map::MapResponse;
use headsail_wire::time::Time;

fn with_one_node(edit: impl FnOnce(&mut headsail_tailnet::model::settings::Settings)) -> (Town, Client) {
    let mut town = Town::with(edit);
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let client = Client::new(1, "web");
    town.join(&client, &key);
    (town, client)
}

#[test]
fn an_administrator_expires_a_node_now_later_or_never() {
    let (mut town, client) = with_one_node(|_| {});
    let id = town.node(&client).id;
    let later = town.now.plus_secs(100);
    town.make(Command::ExpireNode { node: id, at: Some(later) });
    assert_eq!(town.map(&client).me.key_expiry, Some(later));
    town.make(Command::ExpireNode { node: id, at: None });
    assert_eq!((town.node(&client).expiry, town.map(&client).me.key_expiry), (Expiry::Never, None));
    town.make(Command::ExpireNode { node: id, at: Some(town.now) });
    assert!(town.node(&client).expiry.is_past() && town.map(&client).me.expired);
}

#[test]
fn peers_are_notified_when_a_key_expires() {
    let (mut town, client) = with_one_node(|s| s.node_expiry = Some(100));
    let key = town.key(town.node(&client).owner.user().unwrap(), |_| {});
    let viewer = Client::new(2, "viewer");
    town.join(&viewer, &key);
    town.make(Command::ExpireNode { node: town.node(&viewer).id, at: None });
    let then = town.t.clone();
    town.pass(99);
    assert_eq!(step(&then, &town.t).delta(town.node(&viewer).id), Delta::Nothing);
    town.pass(1);
    let told = town.told_since(&then, town.node(&viewer).id);
    assert_eq!(told.peers_changed.len(), 1);
    assert!(told.peers_changed[0].expired && told.peers_changed[0].key_expiry == Some(town.now));
}

#[test]
fn an_expired_node_is_sent_itself_alone_until_it_logs_in_again() {
    let (mut town, client) = with_one_node(|s| {
        s.dns = Arc::new(DnsConfig { proxied: true, ..DnsConfig::default() });
    });
    let owner = town.node(&client).owner.user().unwrap();
    let key = town.key(owner, |_| {});
    let viewer = Client::new(2, "viewer");
    town.join(&viewer, &key);
    let id = town.node(&client).id;
    let (valid, before) = (town.map(&client), town.t.clone());
    assert_eq!((valid.peers.len(), valid.dns.proxied), (1, true));

    town.make(Command::ExpireNode { node: id, at: Some(town.now) });
    let map = town.map(&client);
    assert!(map.me.expired && map.peers.is_empty(), "{map:?}");
    assert_eq!(*map.dns, DnsConfig::default());
    assert!(map.filters.values().all(|rules| rules.is_empty()), "{:?}", map.filters);
    assert!(map.ssh.rules.is_empty());
    let told = town.told_since(&before, id);
    assert_eq!(told.peers_removed, [town.node(&viewer).id]);
    assert!(town.map(&viewer).peers[&id].expired, "its peers still see it");

    // It shares its class with the other node, which is told of this newcomer.
    let expired = town.t.clone();
    town.join(&Client::new(3, "newcomer"), &key);
    assert_eq!(town.told_since(&expired, id), MapResponse::default());
    assert!(step(&expired, &town.t).tells_of_itself(id), "its deltas are not those of its class");

    let expired = town.t.clone();
    town.make(Command::ExpireNode { node: id, at: None });
    let told = town.told_since(&expired, id);
    assert_eq!(told.peers_changed.len(), 2);
    assert!(told.packet_filters.is_some() && told.dns_config.is_some_and(|dns| dns.proxied));
}

#[test]
fn an_expired_node_reports_nothing_until_it_logs_in_again() {
    let (mut town, client) = with_one_node(|_| {});
    let before = town.node(&client);
    let key = town.key(before.owner.user().unwrap(), |_| {});
    town.make(Command::ExpireNode { node: before.id, at: Some(town.now) });
    let mut renamed = client.clone().at("192.0.2.1:1");
    renamed.host.hostname = "printer".into();
    let update = || Command::MapUpdate { node: before.id, telling: Box::new(renamed.tells()) };
    assert_eq!(town.try_to(update()), Err(Rejection::KeyExpired));
    town.open(&renamed, 1);
    let node = town.node(&client);
    assert!(node.presence.is_online(), "it may wait for the end of its expiry");
    assert_eq!(
        (&node.name, &node.contact, &node.hostinfo),
        (&before.name, &before.contact, &before.hostinfo)
    );

    town.join(&client, &key);
    town.make(update());
    assert_eq!(town.node(&client).name, "printer");
}

#[test]
fn expired_nodes_have_no_valid_key() {
    let (mut town, client) = with_one_node(|_| {});
    let (then, id) = (town.t.clone(), town.node(&client).id);
    town.make(Command::ExpireNode { node: id, at: Some(town.now) });
    assert_eq!(town.t.keys_gone_since(&then), [client.node]);
    assert!(
        town.t.valid_node_by_key(&client.node).is_none() && then.valid_node_by_key(&client.node).is_some()
    );
}

#[test]
fn an_expired_node_comes_back_with_the_same_id_and_address() {
    let (mut town, client) = with_one_node(|s| s.node_expiry = Some(100));
    let before = town.node(&client);
    let key = town.key(before.owner.user().unwrap(), |_| {});
    town.pass(100);
    assert!(town.map(&client).me.expired, "the client may still poll, to see that it has expired");
    assert_eq!(town.register(client.asks()), Err(Rejection::KeyExpired));
    let back = town.join(&client.rotated(11), &key);
    assert_eq!((back.id, back.v4, &back.name), (before.id, before.v4, &before.name));
    assert_eq!(back.expiry, Expiry::At(town.now.plus_secs(100)));
}

#[test]
fn a_client_may_bring_its_expiry_forward_but_never_postpone_it() {
    let (mut town, client) = with_one_node(|s| s.node_expiry = Some(1000));
    let wish = |town: &Town, secs| Registration { expiry: Some(town.now.plus_secs(secs)), ..client.asks() };
    let (sooner, later) = (wish(&town, 500), wish(&town, 5000));
    let ought = Expiry::At(town.now.plus_secs(500));
    town.register(sooner).unwrap();
    assert_eq!(town.node(&client).expiry, ought);
    town.register(later).unwrap();
    assert_eq!(town.node(&client).expiry, ought);
}

#[test]
fn a_registration_gets_the_earlier_of_configured_and_requested_expiry() {
    let mut town = Town::with(|s| s.node_expiry = Some(1000));
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    for (number, wish, ought) in [(1, None, 1000), (2, Some(500), 500), (3, Some(5000), 1000)] {
        let client = Client::new(number, "web");
        let expiry = wish.map(|secs| town.now.plus_secs(secs));
        town.register(Registration { expiry, ..client.shows(&key.text) }).unwrap();
        assert_eq!(town.node(&client).expiry, Expiry::At(town.now.plus_secs(ought)));
    }
}

#[test]
fn an_ephemeral_node_is_deleted_after_its_timeout_and_not_before() {
    let mut town = Town::with(|s| (s.ephemeral_timeout, s.grace_millis) = (60, 5000));
    let alice = town.user("alice");
    let key = town.key(alice, |k| k.ephemeral = true);
    let client = Client::new(1, "ci");
    town.join(&client, &key);
    town.open(&client, 1);
    town.pass(10_000);
    assert!(town.is_in(&client), "it is kept while it is connected");
    town.close(&client, 1);
    town.pass(59);
    assert!(town.is_in(&client));
    town.pass(1);
    assert!(!town.is_in(&client));
    let stone =
        town.t.tombstone(&client.node).expect("its client learns about the deletion if it comes back later");
    assert_eq!((stone.machine_key, stone.deleted), (client.machine, town.now));
}

#[test]
fn every_request_of_an_ephemeral_node_restarts_its_timeout() {
    let mut town = Town::with(|s| (s.ephemeral_timeout, s.grace_millis) = (60, 5000));
    let alice = town.user("alice");
    let key = town.key(alice, |k| k.ephemeral = true);
    let client = Client::new(1, "ci");
    let id = town.join(&client, &key).id;
    town.open(&client, 1);
    town.close(&client, 1);
    town.pass(55);
    town.register(client.asks()).unwrap();
    town.pass(55);
    town.lite_update(&client);
    town.pass(55);
    let rotated = client.rotated(11);
    assert_eq!(town.join(&rotated, &key).id, id, "it is still the same node");
    town.pass(59);
    assert!(town.is_in(&rotated));
    town.pass(1);
    assert!(!town.is_in(&rotated));
}

#[test]
fn a_node_that_becomes_ephemeral_gets_its_full_timeout() {
    let mut town = Town::with(|s| s.ephemeral_timeout = 60);
    let alice = town.user("alice");
    let (key, ephemeral) = (town.key(alice, |_| {}), town.key(alice, |k| k.ephemeral = true));
    let client = Client::new(1, "ci");
    town.join(&client, &key);
    town.pass(1000);
    let rotated = client.rotated(11);
    town.join(&rotated, &ephemeral);
    town.pass(59);
    assert!(town.is_in(&rotated));
}

#[test]
fn i9_tombstones_are_bounded_when_many_nodes_are_deleted_at_once() {
    let (mut town, _) = with_one_node(|s| s.ephemeral_timeout = 60);
    let stone = |n: usize, deleted: Time| {
        let mut key = [0xee; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        let (node, machine_key) = (NodeId::new(1_000_000).unwrap(), MachineKey::from_bytes(key));
        let node_key = NodeKey::from_bytes(key);
        Change::Tombstone(Arc::new(Tombstone { node, node_key, machine_key, deleted }))
    };
    let (old, young) = (town.now.plus_secs(-9), town.now.plus_secs(-1));
    let stones: Vec<Change> =
        (0..MAX_TOMBSTONES - 1).map(|n| stone(n, if n < 2 { old } else { young })).collect();
    town.t.apply(&stones);
    let alice = town.t.users().next().unwrap().id;
    let key = town.key(alice, |k| k.ephemeral = true);
    let clients: Vec<Client> = (10..13).map(|n| Client::new(n, "ci")).collect();
    for client in &clients {
        town.join(client, &key);
    }
    town.pass(60);
    let left = |t: &Tailnet| -> Vec<(Time, NodeKey)> {
        let stones = t.dump().into_iter().filter_map(|row| match row {
            Change::Tombstone(s) => Some((s.deleted, s.node_key)),
            _ => None,
        });
        stones.collect()
    };
    let stones = left(&town.t);
    assert_eq!(stones.len(), MAX_TOMBSTONES);
    assert!(clients.iter().all(|c| town.t.tombstone(&c.node).is_some()), "the newest tombstones are kept");
    assert!(stones.iter().all(|(deleted, _)| *deleted != old), "the oldest are dropped");
}

#[test]
fn an_ephemeral_node_that_comes_back_in_time_is_kept() {
    let mut town = Town::with(|s| (s.ephemeral_timeout, s.grace_millis) = (60, 5000));
    let alice = town.user("alice");
    let key = town.key(alice, |k| k.ephemeral = true);
    let client = Client::new(1, "ci");
    let before = town.join(&client, &key).id;
    town.open(&client, 1);
    town.close(&client, 1);
    town.pass(50);
    town.open(&client, 2);
    town.pass(1000);
    assert_eq!(town.node(&client).id, before);
}

#[test]
fn an_ephemeral_node_that_never_connects_is_deleted_too() {
    let mut town = Town::with(|s| s.ephemeral_timeout = 60);
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let client = Client::new(1, "ci");
    town.register(Registration { ephemeral: true, ..client.shows(&key.text) }).unwrap();
    assert!(town.node(&client).ephemeral, "a client may request it even if the key is not ephemeral");
    town.pass(60);
    assert!(!town.is_in(&client));
}

#[test]
fn logging_out_deletes_an_ephemeral_node_immediately() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |k| k.ephemeral = true);
    let client = Client::new(1, "ci");
    town.join(&client, &key);
    town.open(&client, 1);
    town.register(client.logs_out()).unwrap();
    assert_eq!(town.t.node_count(), 0);
    assert!(town.t.tombstone(&client.node).is_some(), "another process with this key learns about it");
}

#[test]
fn a_deleted_node_leaves_a_tombstone_and_its_id_is_never_reused() {
    let (mut town, client) = with_one_node(|_| {});
    let before = town.node(&client);
    let then = town.t.clone();
    let key = town.key(before.owner.user().unwrap(), |_| {});
    town.make(Command::DeleteNode(before.id));
    assert_eq!(step(&then, &town.t).delta(before.id), Delta::Gone, "its stream ends");
    let stone = town.t.tombstone(&client.node).expect("a tombstone").clone();
    assert_eq!((stone.node, stone.machine_key), (before.id, client.machine));
    let back = town.join(&client, &key);
    assert_ne!(back.id, before.id);
    assert!(town.t.tombstone(&client.node).is_none(), "registering again removes the tombstone");
    assert!(matches!(town.try_to(Command::DeleteNode(before.id)), Err(Rejection::NotFound(_))));
}

#[test]
fn a_tombstone_is_deleted_after_thirty_days() {
    let (mut town, client) = with_one_node(|_| {});
    town.make(Command::DeleteNode(town.node(&client).id));
    town.pass(TOMBSTONE_SECS - 1);
    assert!(town.t.tombstone(&client.node).is_some());
    town.pass(1);
    assert!(town.t.tombstone(&client.node).is_none());
}

#[test]
fn a_node_counts_as_online_until_the_grace_period_is_over() {
    let (mut town, client) = with_one_node(|s| s.grace_millis = 5000);
    town.open(&client, 1);
    town.pass(100);
    town.close(&client, 1);
    let left = town.now;
    town.pass(4);
    assert!(town.node(&client).presence.is_online());
    town.pass(1);
    assert_eq!(town.node(&client).presence, Presence::Offline { since: left });
}

#[test]
fn a_node_that_comes_back_within_the_grace_period_was_never_offline() {
    let (mut town, client) = with_one_node(|s| s.grace_millis = 5000);
    town.open(&client, 1);
    let since = town.now;
    town.pass(100);
    town.close(&client, 1);
    town.pass(4);
    town.open(&client, 2);
    town.pass(100);
    assert_eq!(town.node(&client).presence, Presence::Online { since, stream: StreamNo(2) });
}

#[test]
fn the_end_of_a_superseded_stream_is_a_no_op() {
    let (mut town, client) = with_one_node(|_| {});
    town.open(&client, 1);
    town.open(&client, 2);
    town.close(&client, 1);
    town.pass(1000);
    assert!(matches!(town.node(&client).presence, Presence::Online { stream: StreamNo(2), .. }));
}

#[test]
fn after_a_restart_connected_nodes_get_the_grace_period_to_come_back() {
    let (mut town, client) = with_one_node(|s| s.grace_millis = 5000);
    town.open(&client, 7);
    let mut again = Tailnet::empty(town.t.settings().clone());
    again.apply(&town.t.dump());
    let node = again.nodes().next().unwrap().clone();
    assert_eq!(node.presence, town.node(&client).presence, "the row is unchanged");
    let presence = revive(node.presence, town.now, 5000);
    again.apply(&[Change::Presence(node.id, presence)]);
    town.t = again;
    assert!(town.node(&client).presence.is_online());
    town.pass(5);
    assert!(!town.node(&client).presence.is_online());
}

#[test]
fn a_graceful_shutdown_records_which_nodes_were_connected() {
    let (mut town, client) = with_one_node(|s| s.grace_millis = 5000);
    town.open(&client, 1);
    town.pass(60);
    town.make(Command::Shutdown);
    let (left, until) = (town.now, town.now.plus_millis(5000));
    assert!(
        matches!(town.node(&client).presence, Presence::Lingering { left: l, until: u, .. } if (l, u) == (left, until))
    );
}

#[test]
fn rows_that_are_not_due_are_left_alone() {
    use headsail_tailnet::deadline::Due;
    let (mut town, client) = with_one_node(|s| s.node_expiry = Some(100));
    let rows = [
        Due::Node(town.node(&client).id),
        Due::Ticket("hskey-authreq-none".into()),
        Due::Tombstone(NodeKey::from_bytes([3; 32])),
    ];
    for row in rows {
        assert_eq!(town.try_to(Command::Due(row)), Ok(Vec::new()));
    }
}
