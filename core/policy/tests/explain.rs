//! What explanations say: the truth, each thing once, and not without end.

use std::sync::Arc;

use headsail_policy::{Engine, Explanation, NodeFacts, Owner, Policy, Role, Settings, UserFacts};
use headsail_wire::ids::{NodeId, UserId};

/// Users ann (a member, with node `n1`) and bob (a member without a node); `r2` is tagged `tag:router` and routes 10.0.0.0/8, `x3` is
/// tagged `tag:exit` and an exit node.
fn engine(text: &str) -> Engine {
    let settings = Settings { domains: vec!["example.com".into()] };
    let policy = Policy::parse(text, &settings).unwrap_or_else(|e| panic!("{text}: {e}"));
    let user = |(id, name): (u64, &str)| UserFacts {
        id: UserId::new(id).expect("an id"),
        name: name.into(),
        email: format!("{name}@example.com"),
        provider_id: String::new(),
        display: String::new(),
        role: Role::Member,
    };
    let node = |n: u64, name: &str, owner: Owner, routes: &[&str]| {
        let routes: Vec<_> = routes.iter().map(|r| r.parse().expect("a route")).collect();
        let v4 = format!("100.64.0.{n}").parse().ok();
        let facts = NodeFacts::new(NodeId::new(n).expect("an id"), owner, v4, None);
        NodeFacts { name: name.into(), advertised: routes.clone(), approved: routes, ..facts }
    };
    let tagged = |tag: &str| Owner::Tags(vec![tag.into()]);
    let nodes = [
        node(1, "n1", Owner::User(UserId::new(1).expect("an id")), &[]),
        node(2, "r2", tagged("tag:router"), &["10.0.0.0/8"]),
        node(3, "x3", tagged("tag:exit"), &["0.0.0.0/0", "::/0"]),
    ];
    Engine::new(Arc::new(policy), [(1, "ann"), (2, "bob")].map(user), nodes)
}

fn explain(text: &str, src: &str, dst: &str, port: u16) -> Explanation {
    engine(text).explain(src, dst, port, "").unwrap_or_else(|e| panic!("{src} {dst}: {e}"))
}

#[track_caller]
fn refused(text: &str, src: &str, dst: &str, port: u16, reasons: &[&str]) {
    let found = explain(text, src, dst, port);
    assert!(!found.allowed, "{found:?}");
    assert_eq!(found.reasons, reasons, "{src} {dst}:{port}");
}

const SERVER: &str = r#""tagOwners": {"tag:server": [], "tag:router": [], "tag:exit": []}"#;

#[test]
fn a_rule_whose_routers_do_not_carry_it_is_named() {
    let grant = |via: &str| {
        format!(
            "{{{SERVER}, \"grants\": [{{\"src\": [\"ann@\"], \"dst\": [\"10.9.9.9\"], \"ip\": [\"tcp:1\", \"udp:3\"], \"via\": [{via}]}}]}}"
        )
    };
    let stuck = "grants[0] (line 1) names `10.9.9.9`, but no node with `tag:server` routes 10.9.9.9";
    refused(&grant("\"tag:server\""), "n1", "10.9.9.9", 1, &[stuck]);
    let either =
        "grants[0] (line 1) names `10.9.9.9`, but no node with `tag:server` or `tag:exit` routes 10.9.9.9";
    refused(&grant("\"tag:server\", \"tag:exit\""), "n1", "10.9.9.9", 1, &[either]);
    assert!(explain(&grant("\"tag:router\""), "n1", "10.9.9.9", 1).allowed);
    let ports = ["grants[0] (line 1) opens only tcp:1 and udp:3", "no rule opens 9"];
    refused(&grant("\"tag:router\""), "n1", "10.9.9.9", 9, &ports);
    let others = [
        "`r2` is not a source of the rules that reach `10.9.9.9`: grants[0] (line 1)",
        "no rule has `r2` as a source",
    ];
    refused(&grant("\"tag:server\""), "r2", "10.9.9.9", 1, &others);
    let elsewhere = [
        "no rule has `x3` as a destination",
        "rules of which `n1` is a source go elsewhere: grants[0] (line 1)",
    ];
    refused(&grant("\"tag:server\""), "n1", "x3", 1, &elsewhere);
}

#[test]
fn many_ports_and_rules_are_cut() {
    let odd: Vec<String> = (1..=65535).step_by(2).map(|p| p.to_string()).collect();
    let rule =
        format!("{{\"action\": \"accept\", \"src\": [\"ann@\"], \"dst\": [\"r2:{}\"]}}", odd.join(","));
    let text =
        |rules: &str| format!("{{{SERVER}, \"hosts\": {{\"r2\": \"100.64.0.2\"}}, \"acls\": [{rules}]}}");
    let shown = odd[..20].join(",");
    let one = [&format!("acls[0] (line 1) opens only {shown} and 32748 more"), "no rule opens 2"];
    refused(&text(&rule), "n1", "r2", 2, &one);
    let small = "{\"action\": \"accept\", \"src\": [\"ann@\"], \"dst\": [\"r2:1\"]}";
    let found = explain(&text(&[small; 50].join(",")), "n1", "r2", 2);
    assert_eq!(found.reasons.len(), 22);
    assert_eq!(found.reasons[20..], ["and 30 more rules", "no rule opens 2"]);
}
