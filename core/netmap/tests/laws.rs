//! The law that ties server and client together: applying the difference of two views to the first gives the second.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::Arc;

use headsail_netmap::apply::{Incomplete, apply};
use headsail_netmap::diff::{diff, full};
use headsail_netmap::peer::{PeerDiff, compare};
use headsail_netmap::{Filters, NetMap};
use headsail_wire::capver::CapVer;
use headsail_wire::derp_map::{DerpMap, DerpRegion};
use headsail_wire::dns::DnsConfig;
use headsail_wire::filter::FilterRule;
use headsail_wire::hostinfo::Hostinfo;
use headsail_wire::ids::{NodeId, UserId};
use headsail_wire::keys::{DiscoKey, NodeKey};
use headsail_wire::map::{MapResponse, Node};
use headsail_wire::time::Time;
use headsail_wire::user::UserProfile;
use proptest::prelude::*;

fn user(n: u64) -> UserId {
    UserId::new(n + 1).unwrap()
}

/// A peer as this server sends it: always with a capability version, online, and last seen. `seen` is the earliest
/// last-seen time in seconds.
fn peer(id: u64, seen: i64) -> impl Strategy<Value = Node> {
    let patchable = (
        (0u8..3, 0u8..3, proptest::option::of(0i64..3)),
        (proptest::collection::vec(0u16..3, 0..3), 1u32..4, 113u32..116),
        (any::<bool>(), seen..seen + 3),
    );
    let rest = (0u64..3, 0u8..2, any::<bool>(), proptest::collection::vec(0u8..3, 0..2));
    (patchable, rest).prop_map(
        move |(((key, disco, expiry), (ports, home_derp, cap), (online, seen)), rest)| {
            let (owner, host, expired, routes) = rest;
            let own: ipnet::IpNet = format!("100.64.0.{id}/32").parse().unwrap();
            let routes: Vec<ipnet::IpNet> =
                routes.iter().map(|r| format!("10.{r}.0.0/16").parse().unwrap()).collect();
            Node {
                id: NodeId::new(id).unwrap(),
                stable_id: id.to_string(),
                name: format!("host{host}."),
                user: user(owner),
                key: NodeKey::from_bytes([key + 1; 32]),
                key_expiry: expiry.map(Time::from_secs),
                machine: Default::default(),
                disco_key: DiscoKey::from_bytes([disco; 32]),
                addresses: vec![own],
                allowed_ips: [own].into_iter().chain(routes.clone()).collect(),
                endpoints: ports.iter().map(|p| ([192, 0, 2, 1], *p).into()).collect(),
                home_derp,
                hostinfo: Hostinfo { hostname: format!("host{host}"), ..Hostinfo::default() },
                created: Time::EPOCH,
                cap: CapVer(cap),
                tags: Vec::new(),
                primary_routes: routes,
                last_seen: Some(Time::from_secs(seen)),
                online: Some(online),
                machine_authorized: true,
                cap_map: BTreeMap::new(),
                expired,
            }
        },
    )
}

fn peers(seen: i64) -> impl Strategy<Value = BTreeMap<NodeId, Arc<Node>>> {
    let maybe = |id| proptest::option::of(peer(id, seen));
    (maybe(2), maybe(3), maybe(4))
        .prop_map(|(a, b, c)| [a, b, c].into_iter().flatten().map(|node| (node.id, Arc::new(node))).collect())
}

fn filters() -> impl Strategy<Value = Filters> {
    let rules = prop_oneof![Just(vec![]), Just(vec![FilterRule::allow_all()])];
    proptest::collection::btree_map("[ab]", rules.prop_map(Arc::from), 0..3)
}

fn view(seen: i64) -> impl Strategy<Value = NetMap> {
    let parts = (any::<bool>(), 0u32..3, "[a-z]{1,2}", proptest::collection::vec("[a-z]{1,3}", 3));
    (peer(1, 0), peers(seen), filters(), parts).prop_map(
        |(me, peers, filters, (proxied, region, domain, names))| {
            let profile = |n: u64, name: &String| UserProfile {
                id: user(n),
                login_name: name.clone(),
                display_name: name.clone(),
                profile_pic_url: String::new(),
            };
            let regions =
                BTreeMap::from([(region, DerpRegion { region_id: region, ..DerpRegion::default() })]);
            NetMap {
                me: Arc::new(me),
                peers,
                filters,
                dns: Arc::new(DnsConfig { proxied, ..DnsConfig::default() }),
                derp: Arc::new(DerpMap { regions, ..DerpMap::default() }),
                ssh: Arc::default(),
                profiles: (0..).zip(&names).map(|(n, name)| (user(n), profile(n, name))).collect(),
                domain,
            }
        },
    )
}

fn over_the_wire(frame: &MapResponse) -> MapResponse {
    serde_json::from_slice(&serde_json::to_vec(frame).unwrap()).unwrap()
}

proptest! {
    #[test]
    fn applying_the_difference_gives_the_second_view(was in view(0), now in view(3)) {
        let mut told = Some(was.clone());
        if let Some(frame) = diff(&was, &now) {
            apply(&mut told, over_the_wire(&frame)).unwrap();
        } else {
            prop_assert_eq!(&was, &now);
        }
        prop_assert_eq!(told, Some(now));
    }

    #[test]
    fn a_first_frame_gives_the_whole_view(view in view(0)) {
        let mut told = None;
        apply(&mut told, over_the_wire(&full(&view))).unwrap();
        prop_assert_eq!(told, Some(view));
    }

    #[test]
    fn equal_views_need_no_frame(view in view(0)) {
        prop_assert_eq!(diff(&view, &view), None);
    }

    #[test]
    fn peers_compare_as_the_same_exactly_if_they_are_equal(was in peer(2, 0), now in peer(2, 0)) {
        prop_assert_eq!(compare(&was, &now) == PeerDiff::Same, was == now);
    }
}

/// A view with one peer, changed by `edit`.
fn one_peer(edit: impl FnOnce(&mut Node)) -> NetMap {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut make = |strategy: BoxedStrategy<NetMap>| {
        proptest::strategy::ValueTree::current(&strategy.new_tree(&mut runner).unwrap())
    };
    let mut map = make(view(0).boxed());
    let mut node = proptest::strategy::ValueTree::current(&peer(2, 0).new_tree(&mut runner).unwrap());
    edit(&mut node);
    map.peers = BTreeMap::from([(node.id, Arc::new(node))]);
    map
}

#[test]
fn an_incomplete_first_frame_is_rejected() {
    let whole = full(&one_peer(|_| {}));
    for (frame, part) in [
        (MapResponse { node: None, ..whole.clone() }, "Node"),
        (MapResponse { dns_config: None, ..whole.clone() }, "DNSConfig"),
        (MapResponse { derp_map: None, ..whole.clone() }, "DERPMap"),
        (MapResponse { ssh_policy: None, ..whole.clone() }, "SSHPolicy"),
        (MapResponse { packet_filters: None, ..whole.clone() }, "PacketFilters"),
    ] {
        assert_eq!(apply(&mut None, frame), Err(Incomplete(part)));
    }
}

#[test]
fn a_keep_alive_changes_nothing_even_before_the_first_frame() {
    let mut told = None;
    apply(&mut told, MapResponse { keep_alive: true, ..MapResponse::default() }).unwrap();
    assert_eq!(told, None);
}

#[test]
fn changes_that_the_official_client_ignores_are_ignored() {
    let known =
        |n: &mut Node| (n.online, n.last_seen, n.home_derp) = (Some(true), Some(Time::from_secs(5)), 3);
    // A home relay that was cleared.
    let was = one_peer(known);
    let mut told = Some(was.clone());
    let now = one_peer(|n| {
        known(n);
        n.home_derp = 0;
    });
    apply(&mut told, diff(&was, &now).unwrap()).unwrap();
    assert_eq!(told, Some(was.clone()));
    // A last-seen time that was unset before.
    let was = one_peer(|n| (n.online, n.last_seen) = (Some(true), None));
    let mut told = Some(was.clone());
    let later = |n: &mut Node| (n.online, n.last_seen) = (Some(true), Some(Time::from_secs(9)));
    let node = one_peer(later).peers.into_values().collect();
    apply(&mut told, MapResponse { peers_changed: node, ..MapResponse::default() }).unwrap();
    assert_eq!(told, Some(was));
}

#[test]
fn an_outdated_discovery_key_is_ignored() {
    let was = one_peer(|n| (n.online, n.last_seen) = (Some(true), Some(Time::from_secs(5))));
    let gone = |seen: i64| {
        let key = DiscoKey::from_bytes([77; 32]);
        one_peer(|n| (n.online, n.last_seen, n.disco_key) = (Some(false), Some(Time::from_secs(seen)), key))
    };
    for (seen, taken) in [(4, false), (5, true), (6, true)] {
        let mut told = Some(was.clone());
        apply(&mut told, diff(&was, &gone(seen)).unwrap()).unwrap();
        assert_eq!(told == Some(gone(seen)), taken, "seen at {seen}");
    }
}
