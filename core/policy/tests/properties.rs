//! Laws of the engine, checked on small random tailnets, policies and histories.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken fixture ends the test")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use headsail_policy::{
    Comparison, Engine, Net, NodeFacts, Owner, Part, PeerChanges, Policy, Role, Settings, UserFacts,
};
use headsail_wire::filter::FilterRule;
use headsail_wire::ids::{NodeId, UserId};
use ipnet::IpNet;
use proptest::prelude::*;

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % n
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.roll(words.len() as u64) as usize]
    }

    fn some<'a>(&mut self, words: &[&'a str]) -> Vec<&'a str> {
        (0..1 + self.roll(2)).map(|_| self.pick(words)).collect()
    }
}

const TAGS: [&str; 4] = ["tag:a", "tag:b", "tag:c", "tag:r"];
const ROUTES: [&str; 6] =
    ["10.1.0.0/16", "10.1.2.0/24", "10.2.0.0/16", "192.168.7.0/24", "0.0.0.0/0", "::/0"];
const SRC: [&str; 16] = [
    "*",
    "ann@example.org",
    "bob@",
    "group:dev",
    "group:ops",
    "tag:a",
    "tag:b",
    "tag:r",
    "autogroup:member",
    "autogroup:tagged",
    "autogroup:admin",
    "100.64.0.3",
    "fd7a:115c:a1e0::5",
    "ipset:few",
    "10.1.0.0/16",
    "user:*@example.org",
];
const DST: [&str; 15] = [
    "*",
    "ann@example.org",
    "group:dev",
    "tag:a",
    "tag:b",
    "tag:c",
    "autogroup:member",
    "autogroup:tagged",
    "autogroup:internet",
    "100.64.0.4",
    "fd7a:115c:a1e0::4",
    "ipset:few",
    "10.1.2.0/24",
    "10.0.0.0/8",
    "lab",
];
const PORTS: [&str; 4] = ["*", "22", "80-443", "1000-2000"];

fn quoted(words: &[&str]) -> String {
    words.iter().map(|w| format!("{w:?}")).collect::<Vec<_>>().join(", ")
}

fn rule(d: &mut Dice) -> String {
    let ports = d.pick(&PORTS);
    match d.roll(8) {
        0 => {
            let src = quoted(&d.some(&["ann@example.org", "group:dev", "autogroup:member"]));
            format!("{{\"src\": [{src}], \"dst\": [\"autogroup:self\"], \"ip\": [\"{ports}\"]}}")
        }
        1 => {
            let app = d.pick(&["example.org/cap/x", "tailscale.com/cap/drive"]);
            let dst: Vec<&str> = d.some(&DST).into_iter().filter(|w| *w != "autogroup:internet").collect();
            format!(
                "{{\"src\": [{}], \"dst\": [{}], \"app\": {{\"{app}\": [{{\"n\": {}}}]}}}}",
                quoted(&d.some(&SRC)),
                quoted(&dst),
                d.roll(3)
            )
        }
        2 => {
            let dst = d.pick(&["10.1.0.0/16", "10.1.2.0/24", "autogroup:internet", "tag:a"]);
            let via = d.pick(&["tag:r", "tag:a"]);
            format!(
                "{{\"src\": [{}], \"dst\": [\"{dst}\"], \"ip\": [\"{ports}\"], \"via\": [\"{via}\"]}}",
                quoted(&d.some(&SRC))
            )
        }
        3 => format!(
            "{{\"src\": [{}], \"dst\": [{}], \"ip\": [\"udp:{ports}\", \"22\"]}}",
            quoted(&d.some(&SRC)),
            quoted(&d.some(&DST))
        ),
        _ => format!(
            "{{\"src\": [{}], \"dst\": [{}], \"ip\": [\"{ports}\"]}}",
            quoted(&d.some(&SRC)),
            quoted(&d.some(&DST))
        ),
    }
}

fn ssh_rule(d: &mut Dice) -> String {
    let src = quoted(&d.some(&["ann@example.org", "group:dev", "autogroup:member"]));
    let dst = quoted(&d.some(&["tag:a", "tag:b", "autogroup:self"]));
    let users = quoted(&d.some(&["root", "autogroup:nonroot", "localpart:*@example.org", "web"]));
    format!(
        "{{\"action\": \"{}\", \"src\": [{src}], \"dst\": [{dst}], \"users\": [{users}]}}",
        d.pick(&["accept", "check"])
    )
}

/// A policy text; `rules` is kept apart so that it can be edited.
fn text(rules: &[String], ssh: &[String], d: &mut Dice) -> String {
    let dev = d.pick(&["\"ann@example.org\", \"bob@\"", "\"bob@\"", ""]);
    format!(
        "{{\"groups\": {{\"group:dev\": [{dev}], \"group:ops\": [\"cid@example.net\"]}}, \"hosts\": {{\"lab\": \"10.1.2.3\"}}, \
         \"ipsets\": {{\"ipset:few\": [\"fd7a:115c:a1e0::/124\", \"100.64.0.0/29\", \"remove 100.64.0.2\", \"remove fd7a:115c:a1e0::3\"]}}, \
         \"tagOwners\": {{\"tag:a\": [\"group:dev\"], \"tag:b\": [\"tag:a\"], \"tag:c\": [\"ann@example.org\"], \"tag:r\": []}}, \
         \"nodeAttrs\": [{{\"target\": [\"{}\"], \"attr\": [\"{}\"]}}], \
         \"autoApprovers\": {{\"routes\": {{\"10.0.0.0/8\": [\"tag:r\"]}}, \"exitNode\": [\"tag:a\"]}}, \
         \"grants\": [{}], \"ssh\": [{}]}}",
        d.pick(&["tag:a", "*", "group:dev", "lab"]),
        d.pick(&["x", "x", "disable-ipv4", "suggest-exit-node"]),
        rules.join(", "),
        ssh.join(", ")
    )
}

fn users(d: &mut Dice) -> Vec<UserFacts> {
    let user = |id: u64, name: &str, domain: &str, role: Role| UserFacts {
        id: UserId::new(id).expect("an id"),
        name: name.into(),
        email: format!("{name}@{domain}"),
        provider_id: String::new(),
        display: String::new(),
        role,
    };
    let role = if d.roll(2) == 0 { Role::Admin } else { Role::Member };
    vec![
        user(1, "ann", "example.org", role),
        user(2, "bob", "example.com", Role::Owner),
        user(3, "cid", "example.net", Role::Member),
    ]
}

fn node(i: u64, d: &mut Dice) -> NodeFacts {
    let owner = match d.roll(2) {
        0 => Owner::User(UserId::new(1 + d.roll(3)).expect("an id")),
        _ => Owner::Tags(d.some(&TAGS).into_iter().map(String::from).collect()),
    };
    let (v4, v6) =
        (Ipv4Addr::new(100, 64, 0, i as u8), Ipv6Addr::new(0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, i as u16));
    let mut n = NodeFacts::new(NodeId::new(i).expect("an id"), owner, Some(v4), Some(v6));
    n.name = format!("node{i}");
    if d.roll(3) == 0 {
        let routes: Vec<IpNet> = d.some(&ROUTES).iter().map(|r| r.parse().expect("a prefix")).collect();
        n.advertised = routes.clone();
        n.approved = routes.clone();
        n.primary = if d.roll(2) == 0 {
            routes.into_iter().filter(|r| r.prefix_len() > 0).collect()
        } else {
            Vec::new()
        };
    }
    n
}

fn parse(text: &str) -> Arc<Policy> {
    Arc::new(Policy::parse(text, &Settings::default()).unwrap_or_else(|e| panic!("{e}\n{text}")))
}

struct World {
    rules: Vec<String>,
    ssh: Vec<String>,
    engine: Engine,
    dice: Dice,
}

impl World {
    fn new(seed: u64) -> World {
        let mut d = Dice(seed);
        let rules: Vec<String> = (0..1 + d.roll(6)).map(|_| rule(&mut d)).collect();
        let ssh: Vec<String> = (0..d.roll(3)).map(|_| ssh_rule(&mut d)).collect();
        let policy = match d.roll(12) {
            0 => Arc::new(Policy::none()),
            _ => parse(&text(&rules, &ssh, &mut d)),
        };
        let people = users(&mut d);
        let nodes: Vec<NodeFacts> = (1..=3 + d.roll(9)).map(|i| node(i, &mut d)).collect();
        World { rules, ssh, engine: Engine::new(policy, people, nodes), dice: d }
    }

    /// Changes something.
    fn step(&mut self) {
        let d = &mut self.dice;
        match d.roll(6) {
            0 => self.engine.remove_node(NodeId::new(1 + d.roll(12)).expect("an id")),
            1 => self.engine.set_users(users(d)),
            2 => {
                let at = d.roll(self.rules.len() as u64 + 1) as usize;
                match d.roll(3) {
                    0 if !self.rules.is_empty() => drop(self.rules.remove(at.min(self.rules.len() - 1))),
                    1 => self.rules.insert(at, rule(d)),
                    _ => self.ssh = (0..d.roll(3)).map(|_| ssh_rule(d)).collect(),
                }
                self.engine = self.engine.with_policy(parse(&text(&self.rules, &self.ssh, d)));
            }
            _ => {
                let id = 1 + d.roll(12);
                self.engine.upsert_node(node(id, d));
            }
        }
    }
}

fn ids(e: &Engine) -> Vec<NodeId> {
    e.nodes().map(|n| n.id).collect()
}

/// Everything that a node is sent, as text.
fn told(e: &Engine, id: NodeId) -> BTreeMap<&'static str, String> {
    let routes: Vec<_> =
        e.visible(id).map(|p| (p, e.allowed_routes(id, p))).filter(|(_, r)| !r.is_empty()).collect();
    BTreeMap::from([
        ("visible", format!("{:?}", e.visible(id).collect::<Vec<_>>())),
        ("filter", {
            let part = |p: Part| (p.name, e.sources(p.sources), p.dst_ports, p.ip_proto, p.cap_grant);
            format!("{:?}", e.parts(id).into_iter().map(part).collect::<Vec<_>>())
        }),
        ("ssh", serde_json::to_string(&e.ssh(id)).expect("JSON")),
        ("caps", serde_json::to_string(&e.self_caps(id)).expect("JSON")),
        ("routes", format!("{routes:?}")),
    ])
}

fn matches(text: &str, a: IpAddr) -> bool {
    if text == "*" {
        return true;
    }
    if let Some((lo, hi)) = text.split_once('-') {
        let (lo, hi): (IpAddr, IpAddr) = (lo.parse().expect("an address"), hi.parse().expect("an address"));
        return lo.is_ipv4() == a.is_ipv4() && lo <= a && a <= hi;
    }
    text.parse::<IpNet>().is_ok_and(|n| n.contains(&a)) || text.parse::<IpAddr>() == Ok(a)
}

/// The same without the names of the filter's parts, which depend on earlier edits.
fn told_unnamed(e: &Engine, id: NodeId) -> BTreeMap<&'static str, String> {
    let mut told = told(e, id);
    told.insert("filter", serde_json::to_string(&e.filter(id)).expect("JSON"));
    told
}

/// Whether a packet filter admits a TCP connection, decided as clients decide it.
fn lets_in(rules: &[FilterRule], from: IpAddr, to: IpAddr, port: u16) -> bool {
    lets_through(rules, from, to, port, 6)
}

fn lets_through(rules: &[FilterRule], from: IpAddr, to: IpAddr, port: u16, protocol: i32) -> bool {
    rules.iter().any(|r| {
        (r.ip_proto.is_empty() || r.ip_proto.contains(&protocol))
            && r.src_ips.iter().any(|s| matches(s, from))
            && r.dst_ports.iter().any(|d| matches(&d.ip, to) && d.ports.first <= port && port <= d.ports.last)
    })
}

/// Whether a client would answer a ping: some rule matches both addresses, whatever its protocol and ports.
fn pings(rules: &[FilterRule], from: IpAddr, to: IpAddr) -> bool {
    rules
        .iter()
        .any(|r| r.src_ips.iter().any(|s| matches(s, from)) && r.dst_ports.iter().any(|d| matches(&d.ip, to)))
}

/// Whether a source of some rule is an address of a node, or of a subnet that it routes.
fn names(rules: &[FilterRule], node: &NodeFacts) -> bool {
    let own: Vec<Net> = node.addresses().map(Net::from).collect();
    let routes = node.serves().filter(|r| !headsail_policy::is_exit_route(r)).map(|r| Net::from(*r));
    let nets: Vec<Net> = own.into_iter().chain(routes).collect();
    let over = |s: &String| s == "*" || Net::parse(s).is_some_and(|s| nets.iter().any(|n| n.overlaps(&s)));
    rules.iter().flat_map(|r| &r.src_ips).any(over)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn updates_lead_to_the_same_answers_as_a_fresh_engine(seed: u64) {
        let mut w = World::new(seed);
        for _ in 0..12 {
            w.step();
        }
        let e = &w.engine;
        let fresh = Engine::new(e.policy().clone(), e.users().cloned().collect::<Vec<_>>(), e.nodes().cloned().collect::<Vec<_>>());
        for id in ids(e) {
            prop_assert_eq!(told_unnamed(e, id), told_unnamed(&fresh, id), "node {} seed {}", id, seed);
            let names: Vec<String> = e.parts(id).into_iter().map(|p| p.name).collect();
            prop_assert!(names.is_sorted(), "node {} seed {}: clients would put {:?} into another order", id, seed, names);
        }
    }

    #[test]
    fn a_comparison_finds_every_change(seed: u64) {
        let mut w = World::new(seed);
        for _ in 0..6 {
            let before = w.engine.clone();
            w.step();
            let c = Comparison::new(&before, &w.engine);
            for id in ids(&before).into_iter().filter(|id| w.engine.node(*id).is_some()) {
                let (was, is, touch) = (told(&before, id), told(&w.engine, id), c.touch(id));
                for (what, flag) in [("visible", touch.visible), ("filter", touch.filter), ("ssh", touch.ssh), ("caps", touch.caps)] {
                    prop_assert!(flag || was[what] == is[what], "{} of node {} changed, seed {}:\n{}\n{}", what, id, seed, was[what], is[what]);
                }
                prop_assert!(!touch.visible || was["visible"] != is["visible"], "visible of {} did not change, seed {}", id, seed);
            }
        }
    }

    #[test]
    fn peer_changes_contain_every_node_that_looks_different(seed: u64) {
        let mut w = World::new(seed);
        for steps in [1, 1, 3, 1, 2, 6] {
            let before = w.engine.clone();
            (0..steps).for_each(|_| w.step());
            let after = &w.engine;
            let changes = PeerChanges::new(&Comparison::new(&before, after));
            let both: Vec<NodeId> = ids(&before).into_iter().filter(|id| after.node(*id).is_some()).collect();
            let look = |e: &Engine, viewer, node| {
                e.sees(viewer, node).then(|| (e.addresses(viewer, node), e.allowed_routes(viewer, node), e.peer_caps(viewer, node)))
            };
            for viewer in &both {
                let (Some(then), Some(now)) = (before.class_of(*viewer), after.class_of(*viewer)) else { continue };
                let found = changes.nodes(then, now);
                prop_assert_eq!(changes.contains(then, now, *viewer), found.contains(viewer));
                prop_assert_eq!(changes.any(then, now), !found.is_empty());
                for node in &both {
                    let (was, is) = (look(&before, *viewer, *node), look(after, *viewer, *node));
                    prop_assert!(was == is || found.contains(node), "{} to {}, seed {}: {:?} {:?}", node, viewer, seed, was, is);
                }
            }
        }
    }

    #[test]
    fn visibility_is_symmetric_and_by_class(seed: u64) {
        let w = World::new(seed);
        let e = &w.engine;
        let all = ids(e);
        for a in &all {
            prop_assert!(!e.sees(*a, *a));
            for b in &all {
                prop_assert_eq!(e.sees(*a, *b), e.sees(*b, *a));
                prop_assert_eq!(e.sees(*a, *b), e.visible(*a).any(|n| n == *b));
                if e.class_of(*a) == e.class_of(*b) {
                    for c in all.iter().filter(|c| *c != a && *c != b) {
                        prop_assert_eq!(e.sees(*a, *c), e.sees(*b, *c));
                        prop_assert_eq!(e.allowed_routes(*a, *c), e.allowed_routes(*b, *c));
                    }
                }
            }
        }
    }

    #[test]
    fn the_packet_filter_agrees_with_explanations(seed: u64) {
        let w = World::new(seed);
        let e = &w.engine;
        for b in ids(e) {
            let rules = e.filter(b);
            let to = e.node(b).expect("it is there");
            for from in e.nodes().filter(|n| n.id != b) {
                for port in [22, 443, 1500, 9] {
                    let through = from.addresses().any(|s| to.addresses().any(|d| lets_in(&rules, s, d, port)));
                    let said = e.explain(&from.name, &to.name, port, "tcp").expect("both are there");
                    prop_assert_eq!(through, said.allowed, "{} to {}:{} seed {}: {:?}\n{}", from.name, to.name, port, seed, said, e.policy().text());
                    prop_assert!(!through || e.sees(from.id, b), "{} reaches {} unseen, seed {}", from.name, to.name, seed);
                }
            }
        }
    }

    #[test]
    fn an_explanation_about_an_address_is_true_of_that_address(seed: u64) {
        let w = World::new(seed);
        let e = &w.engine;
        for b in ids(e) {
            let rules = e.filter(b);
            let to: Vec<IpAddr> = e.node(b).expect("it is there").addresses().collect();
            let others = e.nodes().filter(|n| n.id != b);
            for (s, d) in others.flat_map(|n| n.addresses()).flat_map(|s| to.iter().map(move |d| (s, *d))) {
                for (port, proto) in [(22, "tcp"), (443, "udp"), (9, "icmp")] {
                    let through = match proto {
                        "icmp" => pings(&rules, s, d),
                        _ => lets_through(&rules, s, d, port, if proto == "tcp" { 6 } else { 17 }),
                    };
                    let said = e.explain(&s.to_string(), &d.to_string(), port, proto).expect("both are there");
                    prop_assert_eq!(through, said.allowed, "{} to {} {}:{} seed {}: {:?}\n{}", s, d, proto, port, seed, said, e.policy().text());
                }
            }
        }
    }

    #[test]
    fn two_nodes_see_each_other_exactly_if_a_rule_connects_them(seed: u64) {
        let w = World::new(seed);
        let e = &w.engine;
        prop_assume!(!e.policy().text().contains("\"via\""));
        let all = ids(e);
        let rules: BTreeMap<NodeId, Vec<FilterRule>> = all.iter().map(|id| (*id, e.filter(*id))).collect();
        for (a, b) in all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b))).filter(|(a, b)| a != b) {
            let named = names(&rules[&a], e.node(b).expect("it is there")) || names(&rules[&b], e.node(a).expect("it is there"));
            prop_assert_eq!(e.sees(a, b), named, "{} and {} seed {}\n{}", a, b, seed, e.policy().text());
        }
    }

    #[test]
    fn filters_only_contain_visible_nodes(seed: u64) {
        let w = World::new(seed);
        let e = &w.engine;
        let owner_of = |a: &str| e.nodes().find(|n| n.addresses().any(|x| x.to_string() == a)).map(|n| n.id);
        for id in ids(e) {
            for named in e.filter(id).iter().flat_map(|r| r.src_ips.iter()).filter_map(|s| owner_of(s)) {
                prop_assert!(named == id || e.sees(id, named), "{} names {} unseen, seed {}", id, named, seed);
            }
        }
    }

    #[test]
    fn formatting_is_stable(seed: u64) {
        let mut d = Dice(seed);
        let rules: Vec<String> = (0..d.roll(8)).map(|_| rule(&mut d)).collect();
        let ssh: Vec<String> = (0..d.roll(4)).map(|_| ssh_rule(&mut d)).collect();
        let once = parse(&text(&rules, &ssh, &mut d)).document().to_string();
        let twice = parse(&once).document().to_string();
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn a_damaged_text_is_refused_or_applied_without_panic(seed: u64) {
        let mut d = Dice(seed);
        let rules: Vec<String> = (0..d.roll(6)).map(|_| rule(&mut d)).collect();
        let mut text: Vec<char> = text(&rules, &[ssh_rule(&mut d)], &mut d).chars().collect();
        for _ in 0..1 + d.roll(6) {
            let (at, with) = (d.roll(text.len() as u64) as usize, d.pick(&["\"", ":", ",", "[", "*", "0", "-", "/", "é", "tag:", "autogroup:"]));
            match d.roll(3) {
                0 => drop(text.remove(at)),
                1 => drop(text.splice(at..at, with.chars())),
                _ => drop(text.splice(at..(at + 9).min(text.len()), with.chars())),
            }
        }
        let text: String = text.into_iter().collect();
        if let Ok(policy) = Policy::parse(&text, &Settings::default()) {
            let nodes: Vec<NodeFacts> = (1..=4).map(|i| node(i, &mut d)).collect();
            let e = Engine::new(Arc::new(policy), users(&mut d), nodes);
            e.run_tests();
            ids(&e).into_iter().for_each(|id| drop(told(&e, id)));
        }
    }

    #[test]
    fn any_text_gets_a_verdict(text in "[\\[\\]{}\",:a-z*@0-9 /.#\n-]{0,200}") {
        let _ = Policy::parse(&text, &Settings::default());
    }
}
