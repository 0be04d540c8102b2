//! Subnet routes: the election of the primary router, and approvals.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use common::{Client, Shown, Town};
use headsail_tailnet::command::{Command, Rejection};
use headsail_tailnet::model::node::{Expiry, Presence};
use headsail_wire::ids::NodeId;
use ipnet::IpNet;

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn router(number: u8) -> Client {
    let mut client = Client::new(number, "router");
    client.host.routable_ips = vec![net("10.0.0.0/8")];
    client
}

/// Two online routers for the same route; the first is the primary.
fn two_routers() -> (Town, Shown, [Client; 2]) {
    let mut town = Town::with(|s| s.node_expiry = Some(1000));
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let routers = [router(1), router(2)];
    for (stream, client) in routers.iter().enumerate() {
        let node = town.join(client, &key).id;
        town.make(Command::ApproveRoutes { node, routes: [net("10.0.0.0/8")].into() });
        town.open(client, stream as u64 + 1);
    }
    (town, key, routers)
}

fn in_charge(town: &Town) -> Option<NodeId> {
    town.t.access().primary(&net("10.0.0.0/8"))
}

#[test]
fn an_expired_router_is_not_primary_while_another_one_is_available() {
    let (mut town, _, [first, second]) = two_routers();
    let (a, b) = (town.node(&first).id, town.node(&second).id);
    assert_eq!(in_charge(&town), Some(a));
    town.make(Command::ExpireNode { node: b, at: None });
    town.pass(1000);
    assert!(
        matches!(town.node(&first).presence, Presence::Online { .. }) && town.node(&first).expiry.is_past()
    );
    assert_eq!(
        (in_charge(&town), town.map(&second).me.primary_routes.clone()),
        (Some(b), vec![net("10.0.0.0/8")])
    );
    // Both have expired: the current primary keeps the route until one of them becomes valid again.
    town.make(Command::ExpireNode { node: b, at: Some(town.now) });
    assert_eq!(in_charge(&town), Some(b));
    town.make(Command::ExpireNode { node: a, at: None });
    assert_eq!((town.node(&first).expiry, in_charge(&town)), (Expiry::Never, Some(a)));
}

#[test]
fn a_router_that_logs_out_hands_over_its_routes() {
    let (mut town, _, [first, second]) = two_routers();
    let viewer = town.node(&second).id;
    let then = town.t.clone();
    town.register(first.logs_out()).unwrap();
    assert_eq!(in_charge(&town), Some(viewer));
    let told = town.told_since(&then, viewer);
    assert_eq!(told.node.map(|me| me.primary_routes.clone()), Some(vec![net("10.0.0.0/8")]));
    assert!(told.peers_changed.iter().any(|p| p.expired && p.primary_routes.is_empty()));
}

#[test]
fn concurrent_edits_of_routes_do_not_undo_each_other() {
    let (mut town, _, [client, _]) = two_routers();
    let id = town.node(&client).id;
    let edit = |approve: &[&str], withdraw: &[&str]| {
        let nets = |all: &[&str]| all.iter().map(|n| net(n)).collect();
        Command::EditRoutes { node: id, approve: nets(approve), withdraw: nets(withdraw) }
    };
    let approved = |town: &Town| -> Vec<String> {
        town.node(&client).approved_routes.iter().map(ToString::to_string).collect()
    };
    town.make(edit(&["192.168.1.7/24"], &[]));
    town.make(edit(&["0.0.0.0/0"], &[]));
    assert_eq!(approved(&town), ["0.0.0.0/0", "10.0.0.0/8", "192.168.1.0/24", "::/0"]);
    town.make(edit(&["172.16.0.0/12"], &["::/0", "10.0.0.0/8", "10.9.0.0/16"]));
    assert_eq!(approved(&town), ["172.16.0.0/12", "192.168.1.0/24"]);
    town.make(edit(&["172.16.0.0/12"], &["172.16.0.0/12"]));
    assert_eq!(
        approved(&town),
        ["172.16.0.0/12", "192.168.1.0/24"],
        "a route that is both approved and withdrawn is approved"
    );
    assert_eq!(town.try_to(edit(&["172.16.0.0/12"], &[])), Ok(Vec::new()));
    town.make(Command::DeleteNode(id));
    assert!(matches!(town.try_to(edit(&[], &[])), Err(Rejection::NotFound(_))));
}
