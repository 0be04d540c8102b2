//! What an edit of the policy touches, and what previews say about it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken fixture ends the test")]

use std::sync::Arc;

use headsail_policy::{
    Comparison, Engine, NodeFacts, Owner, Policy, PortChange, Preview, Role, Settings, UserFacts,
};
use headsail_wire::ids::{NodeId, UserId};

fn id(n: u64) -> NodeId {
    NodeId::new(n).expect("an id")
}

/// Nodes 1 to 4 are tagged a to d; each rule is `from to ports`.
fn policy(rules: &[&str]) -> Arc<Policy> {
    let rule = |r: &&str| {
        let w: Vec<&str> = r.split(' ').collect();
        format!("{{\"action\":\"accept\",\"src\":[\"tag:{}\"],\"dst\":[\"tag:{}:{}\"]}}", w[0], w[1], w[2])
    };
    let rules: Vec<String> = rules.iter().map(rule).collect();
    let owners = "\"tag:a\":[],\"tag:b\":[],\"tag:c\":[],\"tag:d\":[]";
    let text = format!("{{\"tagOwners\":{{{owners}}},\"acls\":[{}]}}", rules.join(","));
    Arc::new(Policy::parse(&text, &Settings::default()).expect("a good policy"))
}

fn engine(rules: &[&str]) -> Engine {
    let node = |(n, tag): (u64, &str)| {
        let v4 = format!("100.64.0.{n}").parse().ok();
        NodeFacts {
            name: tag.into(),
            ..NodeFacts::new(id(n), Owner::Tags(vec![format!("tag:{tag}")]), v4, None)
        }
    };
    Engine::new(policy(rules), [], [(1, "a"), (2, "b"), (3, "c"), (4, "d")].map(node))
}

#[test]
fn an_edit_touches_only_the_nodes_it_concerns() {
    let before = engine(&["a b 22", "c d 80"]);
    let after = before.with_policy(policy(&["a b 22,23", "c d 80"]));
    let touched: Vec<_> =
        Comparison::new(&before, &after).touched().map(|(n, t)| (n, t.filter, t.visible)).collect();
    assert_eq!(touched, [(id(2), true, false)]);
}

#[test]
fn a_rule_inserted_in_front_leaves_the_names_of_the_others() {
    let before = engine(&["a b 22", "c d 80"]);
    let after = before.with_policy(policy(&["b a 1", "a b 22", "c d 80"]));
    assert_eq!(before.parts(id(4)), after.parts(id(4)));
    let comparison = Comparison::new(&before, &after);
    assert!(!comparison.touch(id(4)).any());
    assert!(comparison.touch(id(1)).filter);
}

#[test]
fn a_part_keeps_its_name_when_a_source_joins() {
    let before = engine(&["a b 22", "c d 80"]);
    let mut after = before.clone();
    let joins = NodeFacts::new(id(9), Owner::Tags(vec!["tag:a".into()]), "100.64.0.9".parse().ok(), None);
    after.upsert_node(joins);
    let (was, is) = (before.parts(id(2)), after.parts(id(2)));
    assert_eq!(was[0].name, is[0].name);
    assert_ne!(was[0].sources, is[0].sources);
    assert_eq!(after.sources(is[0].sources), ["100.64.0.1", "100.64.0.9"]);
    let comparison = Comparison::new(&before, &after);
    let touch = comparison.touch(id(2));
    assert!(touch.filter && touch.visible && !touch.ssh && !touch.caps);
    assert!(!comparison.touch(id(4)).any());
}

#[test]
fn a_preview_lists_peers_and_ports() {
    let before = engine(&["a b 22,80", "c d 80"]);
    let after = before.with_policy(policy(&["a b 80,443", "c b 1"]));
    let preview = serde_json::to_value(Preview::new(&before, &after)).expect("JSON");
    let node = |n: u64| preview["nodes"].as_array().expect("nodes").iter().find(|p| p["id"] == n).cloned();
    let b = node(2).expect("b changes");
    assert_eq!(b["peers_gained"], serde_json::json!([3]));
    assert_eq!(
        b["ports_gained"],
        serde_json::json!([{"from": 1, "ports": ["443"]}, {"from": 3, "ports": ["1"]}])
    );
    assert_eq!(b["ports_lost"], serde_json::json!([{"from": 1, "ports": ["22"]}]));
    let d = node(4).expect("d changes");
    assert_eq!(
        (&d["peers_lost"], &d["ports_lost"][0]["ports"]),
        (&serde_json::json!([3]), &serde_json::json!(["80"]))
    );
    assert_eq!(node(1), None);
    assert_eq!(preview["truncated"], false);
}

/// Nodes 1 (of bob), 2 (of bob, routes 10.0.0.0/8) and 3 (of amy, an exit node).
fn household(policy: Option<&str>) -> Engine {
    let user = |id: u64, name: &str| UserFacts {
        id: UserId::new(id).expect("an id"),
        name: name.into(),
        email: format!("{name}@example.com"),
        provider_id: String::new(),
        display: String::new(),
        role: Role::Member,
    };
    let node = |(n, owner, routes): (u64, u64, &str)| {
        let routes: Vec<_> = routes.split_whitespace().map(|r| r.parse().expect("a route")).collect();
        let v4 = format!("100.64.0.{n}").parse().ok();
        let facts = NodeFacts::new(id(n), Owner::User(UserId::new(owner).expect("an id")), v4, None);
        NodeFacts { name: format!("n{n}"), advertised: routes.clone(), approved: routes, ..facts }
    };
    let policy = match policy {
        Some(text) => Policy::parse(text, &Settings::default()).expect("a good policy"),
        None => Policy::none(),
    };
    let nodes = [(1, 7, ""), (2, 7, "10.0.0.0/8"), (3, 8, "0.0.0.0/0 ::/0")].map(node);
    Engine::new(Arc::new(policy), [user(7, "bob"), user(8, "amy")], nodes)
}

/// What node 1 gains and loses: `+22 udp:53 at n2`.
fn differences(before: Option<&str>, after: Option<&str>) -> Vec<String> {
    let preview = Preview::new(&household(before), &household(after));
    let tell = |sign: &str, name: &str, changes: &[PortChange]| -> Vec<String> {
        let mine = changes.iter().filter(|c| c.from == id(1));
        mine.map(|c| format!("{sign}{} {name} {}", c.ports.join(" "), c.at).trim_end().to_owned()).collect()
    };
    let nodes = preview.nodes.iter();
    nodes
        .flat_map(|n| [tell("+", &n.name, &n.ports_gained), tell("-", &n.name, &n.ports_lost)].concat())
        .collect()
}

fn acl(rules: &[(&str, &str, &str)]) -> String {
    let rule = |(proto, src, dst): &(&str, &str, &str)| {
        let proto = if proto.is_empty() { String::new() } else { format!("\"proto\":\"{proto}\",") };
        format!("{{\"action\":\"accept\",{proto}\"src\":[\"{src}\"],\"dst\":[\"{dst}\"]}}")
    };
    format!("{{\"acls\":[{}]}}", rules.iter().map(rule).collect::<Vec<_>>().join(","))
}

#[test]
fn narrowing_a_rule_gains_no_ports() {
    let ssh = acl(&[("", "bob@", "*:22")]);
    assert_eq!(
        differences(None, Some(&ssh)),
        [
            "-1-21 23-65535 n2",
            "-1-21 23-65535 n2 10.0.0.0/8",
            "-1-21 23-65535 n3",
            "-1-21 23-65535 n3 the internet"
        ]
    );
    let back = differences(Some(&ssh), None);
    assert!(back.iter().all(|d| d.starts_with("+1-21 23-65535 ")) && back.len() == 4, "{back:?}");
    let same = acl(&[("", "bob@", "*:1-21"), ("", "bob@", "*:22,23-65535"), ("", "amy@", "*:*")]);
    assert_eq!(differences(None, Some(&same)), <[&str; 0]>::default());
}

#[test]
fn protocols_are_subtracted_too() {
    let all = acl(&[("", "bob@", "bob@:*")]);
    let tcp = acl(&[("tcp", "bob@", "bob@:*")]);
    let one = acl(&[("tcp", "bob@", "bob@:22")]);
    let ping = acl(&[("icmp", "bob@", "bob@:*")]);
    let none = acl(&[("", "amy@", "amy@:*")]);
    for (before, after, told) in [
        (&all, &tcp, "-udp:* n2"),
        (&tcp, &all, "+udp:* n2"),
        (&one, &tcp, "+tcp:1-21 tcp:23-65535 n2"),
        (&all, &ping, "-tcp:* udp:* n2"),
        (&all, &none, "-* n2"),
        (&none, &all, "+* n2"),
        (&none, &one, "+tcp:22 n2"),
        (&none, &ping, "+icmp:* ipv6-icmp:* n2"),
    ] {
        assert_eq!(differences(Some(before), Some(after)), [told], "{before} -> {after}");
    }
}

#[test]
fn a_preview_lists_networks_apart_from_their_router() {
    let wide = acl(&[("", "bob@", "10.0.0.0/8:*"), ("", "bob@", "100.64.0.0/10:*")]);
    let narrow = acl(&[("", "bob@", "10.1.0.0/16:80"), ("", "bob@", "100.64.0.2:*")]);
    // What is still open in the narrower network is not a gain.
    assert_eq!(differences(Some(&wide), Some(&narrow)), ["-* n2 10.0.0.0/8", "-* n3"]);
    assert_eq!(differences(Some(&narrow), Some(&wide)), ["+* n2 10.0.0.0/8", "+* n3"]);
}

#[test]
fn explanations_accept_bare_user_names_and_ids() {
    let engine = household(Some(&acl(&[("", "bob@", "amy@:22")])));
    for bob in ["bob", "bob@", "bob@example.com", "7", "n1"] {
        let found = engine.explain(bob, "amy", 22, "").expect("an answer");
        assert!(found.allowed && found.dst == "n3 (amy)", "{bob}: {found:?}");
    }
    assert!(engine.explain("nobody", "amy", 22, "").is_err());
    assert!(engine.explain("bob", "amy", 22, "foo").expect_err("no protocol").contains("`foo`"));
    let mut engine = engine;
    let called = NodeFacts { name: "bob".into(), ..engine.node(id(3)).expect("n3").clone() };
    engine.upsert_node(called);
    assert!(!engine.explain("bob", "n2", 22, "").expect("an answer").allowed, "a node's name goes first");
}

#[test]
fn explanations_say_what_has_no_node_yet() {
    let text = r#"{"tagOwners": {"tag:ghost": []}, "acls": [{"action": "accept", "src": ["bob@"], "dst": ["*:22"]}]}"#;
    let engine = household(Some(text));
    let yes = engine.explain("bob", "tag:ghost", 22, "").expect("an answer");
    assert!(yes.allowed && yes.dst == "tag:ghost, which has no node yet", "{yes:?}");
    let no = engine.explain("tag:ghost", "n3", 22, "").expect("an answer");
    assert_eq!(no.src, "tag:ghost, which has no node yet");
    let why = "`tag:ghost` is not a source of the rules that reach `n3`: acls[0] (line 1)";
    assert_eq!(no.reasons.first().map(String::as_str), Some(why), "{no:?}");
    assert_eq!(engine.explain("*", "10.0.0.1", 22, "").expect("an answer").src, "*");
}

#[test]
fn a_user_name_used_twice_is_reported_once() {
    let told = |text: &str| Policy::parse(text, &Settings::default()).expect_err("refused").diagnostics;
    assert_eq!(told(r#"{"acls": [], "acls": []}"#).len(), 1);
    assert_eq!(told(r#"{"acls": [], "ACLs": []}"#).len(), 1);
    let thrice = told(r#"{"acls": [], "ACLs": [], "ACLs": []}"#);
    assert_eq!(thrice.len(), 2, "{thrice:?}");
}
