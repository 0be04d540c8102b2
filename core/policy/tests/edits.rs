//! What an edit of the policy touches, and how it is announced.

use std::sync::Arc;

use headsail_policy::{Comparison, Engine, NodeFacts, Owner, Policy, Preview, Settings};
use headsail_wire::ids::NodeId;

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
fn an_edit_touches_only_whom_it_concerns() {
    let before = engine(&["a b 22", "c d 80"]);
    let after = before.with_policy(policy(&["a b 22,23", "c d 80"]));
    let touched: Vec<_> =
        Comparison::new(&before, &after).touched().map(|(n, t)| (n, t.filter, t.visible)).collect();
    assert_eq!(touched, [(id(2), true, false)]);
}

#[test]
fn a_rule_in_front_leaves_the_names_of_the_others() {
    let before = engine(&["a b 22", "c d 80"]);
    let after = before.with_policy(policy(&["b a 1", "a b 22", "c d 80"]));
    assert_eq!(before.parts(id(4)), after.parts(id(4)));
    assert!(!Engine::changed(&before, &after, id(4)).any());
    assert!(Engine::changed(&before, &after, id(1)).filter);
}

#[test]
fn a_source_that_comes_keeps_the_name_of_the_part() {
    let before = engine(&["a b 22", "c d 80"]);
    let mut after = before.clone();
    let joins = NodeFacts::new(id(9), Owner::Tags(vec!["tag:a".into()]), "100.64.0.9".parse().ok(), None);
    after.upsert_node(joins);
    let (was, is) = (before.parts(id(2)), after.parts(id(2)));
    assert_eq!(was[0].name, is[0].name);
    assert_ne!(was[0].sources, is[0].sources);
    assert_eq!(after.sources(is[0].sources), ["100.64.0.1", "100.64.0.9"]);
    let touch = Engine::changed(&before, &after, id(2));
    assert!(touch.filter && touch.visible && !touch.ssh && !touch.caps);
    assert!(!Engine::changed(&before, &after, id(4)).any());
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
