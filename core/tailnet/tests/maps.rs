//! What nodes are sent about themselves and their peers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use std::sync::Arc;

use common::{Client, Town, step, tags};
use headsail_netmap::apply::apply;
use headsail_netmap::diff::full;
use headsail_tailnet::change::Change;
use headsail_tailnet::command::{Command, NewUser, Telling};
use headsail_tailnet::delta::Delta;
use headsail_tailnet::model::node::StreamNo;
use headsail_tailnet::model::settings::Settings;
use headsail_wire::capver::CapVer;
use headsail_wire::dns::DnsConfig;
use headsail_wire::hostinfo::{Hostinfo, Service};
use headsail_wire::keys::{MachineKey, NodeKey};
use headsail_wire::map::MapResponse;

/// Two nodes of one user.
fn two() -> (Town, Client, Client) {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let (a, b) = (Client::new(1, "a"), Client::new(2, "b"));
    town.join(&a, &key);
    town.join(&b, &key);
    (town, a, b)
}

#[test]
fn the_first_frame_is_complete() {
    let (town, a, b) = two();
    let map = town.map(&a);
    let mut told = None;
    apply(&mut told, full(&map)).unwrap();
    let told = told.unwrap();
    assert_eq!(told, map);
    assert_eq!(told.peers.keys().copied().collect::<Vec<_>>(), [town.node(&b).id]);
    assert!(told.me.machine_authorized && told.me.name == "a.mesh.internal." && !told.me.cap_map.is_empty());
    assert_eq!(told.me.machine, a.machine);
    assert!(told.profiles.contains_key(&told.me.user));
}

#[test]
fn a_peer_has_its_own_capability_version() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let (a, b) = (
        Client { cap: CapVer(113), ..Client::new(1, "a") },
        Client { cap: CapVer(140), ..Client::new(2, "b") },
    );
    let (_, id) = (town.join(&a, &key), town.join(&b, &key).id);
    assert_eq!(town.map(&a).peers[&id].cap, CapVer(140));
}

#[test]
fn peers_get_no_log_ids_tokens_measurements_or_machine_key() {
    let (mut town, a, mut b) = two();
    b = b.at_relay(7);
    b.host.backend_log_id = "log".into();
    b.host.frontend_log_id = "log".into();
    b.host.push_device_token = "token".into();
    b.host.device_model = "phone".into();
    b.host.services = vec![
        Service { proto: "peerapi4".into(), port: 1, description: String::new() },
        Service { proto: "tcp".into(), port: 22, description: "sshd".into() },
    ];
    town.lite_update(&b);
    let peer = town.map(&a).peers[&town.node(&b).id].clone();
    let text = serde_json::to_string(&*peer).unwrap();
    for secret in ["log", "token", "phone", "sshd", "NetInfo", "mkey:"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert_eq!((peer.home_derp, peer.hostinfo.services.len()), (7, 1));
}

#[test]
fn a_joining_peer_is_sent_with_its_owner_and_nothing_else() {
    let (mut town, a, _) = two();
    let bob = town.user("bob");
    let key = town.key(bob, |_| {});
    let then = town.t.clone();
    let joined = town.join(&Client::new(3, "c"), &key);
    let told = town.told_since(&then, town.node(&a).id);
    let peer = &told.peers_changed[0];
    assert_eq!((peer.id, peer.online), (joined.id, Some(false)));
    assert_eq!(told.user_profiles.iter().map(|p| p.id).collect::<Vec<_>>(), [bob]);
    let rest = MapResponse { peers_changed: Vec::new(), user_profiles: Vec::new(), ..told };
    assert_eq!(rest, MapResponse::default(), "nothing else is sent");
}

#[test]
fn endpoints_relay_and_presence_are_sent_as_patches() {
    let (mut town, a, b) = two();
    let (viewer, id) = (town.node(&a).id, town.node(&b).id);
    let b = b.at_relay(1).at("192.0.2.1:1").with_disco(1);
    town.lite_update(&b);
    for next in
        [b.clone().at("192.0.2.2:2"), b.clone().at("192.0.2.2:2").at_relay(5), b.clone().with_disco(2)]
    {
        let then = town.t.clone();
        town.lite_update(&next);
        let told = town.told_since(&then, viewer);
        assert_eq!((told.peers_changed.len(), told.peers_changed_patch.len()), (0, 1), "{told:?}");
        assert_eq!(told.peers_changed_patch[0].node_id, id);
    }
    let then = town.t.clone();
    town.open(&b, 1);
    let told = town.told_since(&then, viewer);
    assert_eq!(told.peers_changed_patch[0].online, Some(true));
    assert!(told.peers_changed.is_empty());
}

#[test]
fn a_disconnected_peer_is_sent_as_one_patch_with_last_seen() {
    let (mut town, a, b) = two();
    town.open(&b, 1);
    let then = town.t.clone();
    town.pass(100);
    town.close(&b, 1);
    let left = town.now;
    assert_eq!(
        step(&then, &town.t).delta(town.node(&a).id),
        Delta::Nothing,
        "the start of the grace period is not sent"
    );
    town.pass(60);
    let told = town.told_since(&then, town.node(&a).id);
    assert!(told.peers_changed.is_empty());
    let patch = &told.peers_changed_patch[0];
    assert_eq!((patch.online, patch.last_seen), (Some(false), Some(left)));
}

#[test]
fn cleared_endpoints_are_sent_with_the_whole_node() {
    let (mut town, a, b) = two();
    let b = b.at("192.0.2.1:1").with_disco(1).at_relay(1);
    town.lite_update(&b);
    let (then, mut map) = (town.t.clone(), Some(town.map(&a)));
    town.lite_update(&Client { endpoints: Vec::new(), ..b });
    apply(&mut map, town.told_since(&then, town.node(&a).id)).unwrap();
    assert_eq!(map, Some(town.map(&a)));
    assert!(map.unwrap().peers.values().all(|p| p.endpoints.is_empty()));
}

#[test]
fn a_node_is_not_sent_its_own_endpoints_and_presence() {
    let (mut town, a, _) = two();
    let then = town.t.clone();
    town.open(&a.clone().at("192.0.2.9:9").at_relay(4), 1);
    assert_eq!(step(&then, &town.t).delta(town.node(&a).id), Delta::Nothing);
}

#[test]
fn missing_or_empty_measurements_keep_the_home_relay() {
    let (mut town, a, _) = two();
    town.lite_update(&a.clone().at_relay(4));
    town.lite_update(&a);
    assert_eq!(town.node(&a).contact.home_derp(), 4);
    town.lite_update(&a.clone().at_relay(0));
    assert_eq!(town.node(&a).contact.home_derp(), 4);
    let id = town.node(&a).id;
    town.make(Command::MapUpdate { node: id, telling: Box::new(Telling { hostinfo: None, ..a.tells() }) });
    assert_eq!((town.node(&a).contact.home_derp(), town.node(&a).hostname.as_str()), (4, "a"));
}

#[test]
fn a_stream_does_not_overwrite_a_lite_update() {
    let (mut town, a, _) = two();
    let fresh = Client { host: Client::new(1, "new-name").host, ..a.clone() }
        .at("192.0.2.2:2")
        .at_relay(2)
        .with_disco(2);
    let stale = a.at("192.0.2.1:1").at_relay(1).with_disco(1);
    town.lite_update(&fresh);
    let before = town.node(&fresh);
    town.open(&stale, 1);
    let after = town.node(&fresh);
    assert_eq!(
        (&after.contact, &after.hostinfo, &after.name),
        (&before.contact, &before.hostinfo, &before.name)
    );
}

#[test]
fn a_stream_fills_in_what_is_unknown() {
    let (mut town, a, _) = two();
    let a = a.at("192.0.2.1:1").at_relay(1).with_disco(1);
    town.open(&a, 1);
    let contact = &town.node(&a).contact;
    assert_eq!((contact.endpoints.len(), contact.home_derp(), contact.disco_key), (1, 1, a.disco));
}

#[test]
fn a_change_of_contact_is_volatile_and_one_of_identity_is_durable() {
    let (mut town, a, _) = two();
    let node = town.node(&a).id;
    let tell = |client: &Client| Command::MapUpdate { node, telling: Box::new(client.tells()) };
    let moved = town.try_to(tell(&a.clone().at("192.0.2.1:1"))).unwrap();
    assert!(matches!(moved[..], [Change::Contact(..)]), "{moved:?}");
    let renamed = Client { host: Client::new(1, "z").host, ..a.clone() };
    assert!(matches!(town.try_to(tell(&renamed)).unwrap()[..], [Change::Node(_)]));
    let again = Command::MapUpdate { node, telling: Box::new(renamed.tells()) };
    assert_eq!(town.try_to(again), Ok(Vec::new()));
}

#[test]
fn commands_for_a_deleted_node_are_rejected() {
    let (mut town, a, _) = two();
    let node = town.node(&a).id;
    town.make(Command::DeleteNode(node));
    let telling = || Box::new(a.tells());
    assert!(town.try_to(Command::MapUpdate { node, telling: telling() }).is_err());
    assert!(town.try_to(Command::StreamOpened { node, stream: StreamNo(1), telling: telling() }).is_err());
    assert_eq!(town.try_to(Command::StreamClosed { node, stream: StreamNo(1) }), Ok(Vec::new()));
}

#[test]
fn the_lists_that_a_client_reports_are_bounded() {
    let (mut town, mut a, _) = two();
    a.endpoints = (0..500).map(|port| std::net::SocketAddr::from(([192, 0, 2, 1], port))).collect();
    a.host.request_tags = vec!["tag:x".into(); 5000];
    a.host.routable_ips = vec!["10.0.0.0/8".parse().unwrap(); 5000];
    town.lite_update(&a);
    let node = town.node(&a);
    assert!(node.contact.endpoints.len() <= 64);
    assert!(node.hostinfo.request_tags.len() <= 1024 && node.hostinfo.routable_ips.len() <= 1024);
    assert_eq!(
        town.try_to(Command::MapUpdate { node: node.id, telling: Box::new(a.tells()) }),
        Ok(Vec::new())
    );
}

#[test]
fn advertised_routes_are_masked() {
    let (mut town, mut a, _) = two();
    a.host.routable_ips = vec!["10.1.2.3/16".parse().unwrap()];
    town.lite_update(&a);
    assert_eq!(town.node(&a).advertised_routes()[0].to_string(), "10.1.0.0/16");
}

#[test]
fn a_renamed_user_is_sent_to_the_nodes_that_see_one_of_its_nodes() {
    let (mut town, a, _) = two();
    let alice = town.node(&a).owner.user().unwrap();
    let stranger = town.user("stranger");
    let then = town.t.clone();
    town.make(Command::RenameUser { user: alice, name: "alicia".into() });
    town.make(Command::RenameUser { user: stranger, name: "weird".into() });
    let told = town.told_since(&then, town.node(&a).id);
    assert_eq!(told.user_profiles.iter().map(|p| p.login_name.as_str()).collect::<Vec<_>>(), ["alicia"]);
    assert_eq!(MapResponse { user_profiles: Vec::new(), ..told }, MapResponse::default());
}

#[test]
fn a_peer_that_changes_owner_is_sent_with_the_new_owner() {
    let (mut town, a, b) = two();
    town.has_tags(&["tag:web"]);
    let then = town.t.clone();
    town.make(Command::TagNode { node: town.node(&b).id, tags: tags(&["tag:web"]) });
    let told = town.told_since(&then, town.node(&a).id);
    assert_eq!(told.peers_changed[0].tags, ["tag:web"]);
    assert_eq!(told.user_profiles[0].login_name, "tagged-devices");
}

#[test]
fn only_the_settings_that_changed_are_sent() {
    let (mut town, a, _) = two();
    let then = town.t.clone();
    let dns = Arc::new(DnsConfig { proxied: true, ..DnsConfig::default() });
    let user_names = Some(false);
    let next = Settings { dns: dns.clone(), user_names, ..Settings::clone(town.t.settings()) };
    town.make(Command::Configure(Arc::new(next)));
    let told = town.told_since(&then, town.node(&a).id);
    assert_eq!(told, MapResponse { dns_config: Some(dns), ..MapResponse::default() });
}

#[test]
fn a_new_base_domain_renames_all_nodes() {
    let (mut town, a, b) = two();
    let (then, mut map) = (town.t.clone(), Some(town.map(&a)));
    let next = Settings { base_domain: "other.example".into(), ..Settings::clone(town.t.settings()) };
    town.make(Command::Configure(Arc::new(next)));
    apply(&mut map, town.told_since(&then, town.node(&a).id)).unwrap();
    assert_eq!(map, Some(town.map(&a)));
    assert_eq!(map.unwrap().peers[&town.node(&b).id].name, "b.other.example.");
}

#[test]
fn users_without_visible_nodes_are_not_sent() {
    let (mut town, a, _) = two();
    let then = town.t.clone();
    town.make(Command::CreateUser(NewUser { name: "quiet".into(), ..NewUser::default() }));
    assert_eq!(step(&then, &town.t).delta(town.node(&a).id), Delta::Nothing);
    assert_eq!(town.map(&a).profiles.len(), 1);
}

const STAFF: &str = r#"{"acls": [{"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:*"]},
    {"action": "accept", "src": ["autogroup:tagged"], "dst": ["autogroup:tagged:*"]}],
    "tagOwners": {"tag:web": ["alice@"]}}"#;

#[test]
fn renamed_filter_parts_are_sent_even_if_their_rules_are_the_same() {
    let (mut town, a, _) = two();
    let id = town.node(&a).id;
    let mut map = Some(town.map(&a));
    let set = |text: &str| Command::SetPolicy { text: text.into(), kept: true };
    let everything = r#"{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}"#;
    let tagged = Command::TagNode { node: id, tags: tags(&["tag:web"]) };
    for command in [set("{}"), set(everything), set(STAFF), tagged, set(everything)] {
        let then = town.t.clone();
        town.make(command);
        apply(&mut map, town.told_since(&then, id)).unwrap();
        assert_eq!(
            map.as_ref().map(|m| &m.filters),
            Some(&town.map(&a).filters),
            "the old parts are removed"
        );
    }
}

#[test]
fn a_settings_change_is_sent_to_each_node_with_its_own_view() {
    let (mut town, a, b) = two();
    let then = town.t.clone();
    let next = Settings { taildrop: false, ..Settings::clone(town.t.settings()) };
    town.make(Command::Configure(Arc::new(next)));
    for client in [a, b] {
        let id = town.node(&client).id;
        assert_eq!(town.told_since(&then, id).node.map(|n| n.id), Some(id));
        assert!(step(&then, &town.t).tells_of_itself(id));
    }
}

#[test]
fn texts_that_a_client_reports_are_truncated() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let long = "ü".repeat(5_000);
    let mut client = Client::new(1, &long);
    for text in client.host.texts_mut() {
        text.clone_from(&long);
    }
    client.host.ssh_host_keys = vec![long.clone(); 100];
    client.host.request_tags = Vec::new();
    client.host.services =
        vec![Service { proto: "peerapi4".into(), description: "d".repeat(500), port: 1 }; 2000];
    let size = |host: &Hostinfo| serde_json::to_vec(host).expect("it is JSON").len();
    let node = town.join(&client, &key);
    assert!(size(&node.hostinfo) < 400_000, "{}", size(&node.hostinfo));
    assert!(node.hostname.len() <= 255 && node.hostname.starts_with('ü'));
    let before = town.t.clone();
    town.lite_update(&client);
    assert_eq!(
        town.node(&client),
        before.node(node.id).expect("it is there").clone(),
        "the same report again is a no-op"
    );

    let mut stranger = client.clone();
    (stranger.machine, stranger.node) = (MachineKey::from_bytes([9; 32]), NodeKey::from_bytes([9; 32]));
    stranger.host.request_tags = vec![format!("tag:{long}"); 500];
    stranger.host.routable_ips = vec!["10.0.0.0/8".parse().expect("a prefix"); 5000];
    town.register(stranger.asks()).expect("a login is pending");
    assert!(size(&town.waiting().asking.hostinfo) < 32_000);
}

#[test]
fn nodes_of_users_have_user_names_in_small_tailnets() {
    for (chosen, told_when_large) in [(None, false), (Some(true), true)] {
        let dns = Arc::new(DnsConfig { proxied: true, ..DnsConfig::default() });
        let mut town = Town::with(|s| (s.dns, s.user_names) = (dns, chosen));
        let alice = town.user("alice@example.com");
        let key = town.key(alice, |_| {});
        let laptop = Client::new(1, "my-laptop");
        town.join(&laptop, &key);
        let names = |town: &Town| -> Vec<String> {
            town.map(&laptop).dns.extra_records.iter().map(|r| format!("{} {}", r.name, r.value)).collect()
        };
        assert_eq!(names(&town), ["my-laptop.alice.mesh.internal 100.64.0.1"]);
        let tagged = town.key(alice, |k| k.tags = tags(&["tag:server"]));
        town.join(&Client::new(2, "server"), &tagged);
        assert_eq!(names(&town).len(), 1, "a tagged node has no user");
        for number in 3..=33 {
            let (then, mut map) = (town.t.clone(), Some(town.map(&laptop)));
            town.join(&Client::new(number, "other"), &key);
            apply(&mut map, town.told_since(&then, town.node(&laptop).id)).expect("it applies");
            assert_eq!(map, Some(town.map(&laptop)));
        }
        assert_eq!(!names(&town).is_empty(), told_when_large);
    }
}
