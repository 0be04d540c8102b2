//! Explanations and test failures: true, without repetition, and bounded.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken fixture ends the test")]

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
fn an_explanation_names_a_rule_whose_routers_do_not_serve_the_destination() {
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
fn explanations_cut_long_lists_of_ports_and_rules() {
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

/// The failures of a policy's tests, with users ann and bob and without a tagged node.
fn failures(rest: &str) -> Vec<String> {
    let empty = "\"group:ghost\": [\"ghost@\"], \"group:e\": []";
    let text = format!("{{\"groups\": {{{empty}}}, {SERVER}, {rest}}}");
    let mut engine = engine(&text);
    (2..=3).filter_map(NodeId::new).for_each(|n| engine.remove_node(n));
    engine.run_tests().into_iter().map(|f| f.message).collect()
}

const OPEN: &str = r#""acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]"#;

#[test]
fn a_known_but_empty_source_or_destination_passes_a_deny() {
    for name in ["group:ghost", "group:e", "autogroup:tagged", "autogroup:admin"] {
        let one = |test: &str| failures(&format!("{OPEN}, \"tests\": [{test}]"));
        let from = |verb: &str| one(&format!("{{\"src\": \"{name}\", \"{verb}\": [\"100.64.0.1:22\"]}}"));
        let to = |verb: &str| one(&format!("{{\"src\": \"ann@\", \"{verb}\": [\"{name}:22\"]}}"));
        assert_eq!((from("deny"), to("deny")), (vec![], vec![]), "{name}");
        let why = format!("`{name}` has no members yet");
        assert_eq!(from("accept"), [format!("`{name}` must reach `100.64.0.1:22`, but {why}")]);
        assert_eq!(to("accept"), [format!("`ann@` must reach `{name}:22`, but {why}")]);
        let ssh = |verb: &str| {
            let test = format!("{{\"src\": \"{name}\", \"dst\": [\"ann@\"], \"{verb}\": [\"root\"]}}");
            failures(&format!("\"sshTests\": [{test}]"))
        };
        assert_eq!(ssh("deny"), [""; 0], "{name}");
        for verb in ["accept", "check"] {
            assert_eq!(ssh(verb), [format!("expected `{verb}` for account `root` at `ann@`, but {why}")]);
        }
    }
}

#[test]
fn an_unknown_name_fails_even_a_deny() {
    let deny = |src: &str, dst: &str| {
        failures(&format!("{OPEN}, \"tests\": [{{\"src\": \"{src}\", \"deny\": [\"{dst}:22\"]}}]"))
    };
    for name in ["group:no", "tag:no", "nobody@", "nohost", "ipset:no", "user:*@example.org"] {
        assert_eq!(deny(name, "ann@"), [format!("source `{name}` is not known")]);
        assert_eq!(deny("ann@", name), [format!("destination `{name}` is not known")]);
        assert_eq!(deny("group:e", name), [format!("destination `{name}` is not known")]);
    }
    assert_eq!(deny("ann@", "autogroup:internet"), [""; 0]);
}

#[test]
fn empty_groups_and_unknown_names_have_different_errors() {
    let text = format!("{{\"groups\": {{\"group:e\": []}}, {SERVER}, {OPEN}}}");
    let error = |src: &str| engine(&text).explain(src, "n1", 22, "").expect_err(src);
    assert_eq!(error("group:e"), "`group:e` has no members yet");
    assert_eq!(error("autogroup:admin"), "`autogroup:admin` has no members yet");
    assert!(error("group:no").starts_with("`group:no` is not known: "));
}

#[test]
fn explanations_accept_the_internet_as_a_destination() {
    let text = format!(
        "{{{SERVER}, \"acls\": [{{\"action\": \"accept\", \"src\": [\"ann@\"], \"dst\": [\"autogroup:internet:443\"]}}]}}"
    );
    for internet in ["autogroup:internet", "8.8.8.8"] {
        let yes = explain(&text, "n1", internet, 443);
        assert!(yes.allowed && yes.reasons.contains(&"`x3` is an exit node".into()), "{yes:?}");
        refused(&text, "n1", internet, 80, &["acls[0] (line 1) opens only 443", "no rule opens 80"]);
    }
    let mut without = engine(&text);
    without.remove_node(NodeId::new(3).expect("an id"));
    let yes = without.explain("n1", "autogroup:internet", 443, "").expect("an answer");
    let nothing = "there is no exit node, so nothing will arrive";
    assert!(yes.allowed && yes.reasons.iter().any(|r| r == nothing), "{yes:?}");
}

#[test]
fn reasons_say_why_a_rule_matches_source_and_destination() {
    let reasons = |src: &str, dst: &str, (from, to): (&str, &str)| {
        let names =
            "\"hosts\": {\"office\": \"10.1.0.0/16\"}, \"ipsets\": {\"ipset:lab\": [\"10.2.0.0/16\"]}";
        let groups = "\"groups\": {\"group:dev\": [\"bob@\"]}";
        let rule = format!("{{\"src\": [\"{src}\"], \"dst\": [\"{dst}\"], \"ip\": [\"*\"]}}");
        let found = explain(&format!("{{{SERVER}, {names}, {groups}, \"grants\": [{rule}]}}"), from, to, 85);
        assert!(found.allowed, "{found:?}");
        found.reasons
    };
    let lab = ["source: `office` contains 10.1.0.0/16", "destination: `ipset:lab` contains 10.2.0.0/16"];
    assert_eq!(reasons("office", "ipset:lab", ("office", "ipset:lab")), lab);
    let bob = ["source: the rule names `bob@`", "destination: the rule names `tag:server`"];
    assert_eq!(reasons("bob@", "tag:server", ("bob@", "tag:server")), bob);
    let dev = ["source: `group:dev` has bob@example.com", "destination: `autogroup:tagged` has `tag:server`"];
    assert_eq!(reasons("group:dev", "autogroup:tagged", ("bob@", "tag:server")), dev);
    let internet = [
        "source: `user:*@example.com` has ann@example.com, who owns `n1`",
        "destination: the rule names `autogroup:internet`",
        "`x3` is an exit node",
    ];
    let all = ("user:*@example.com", "autogroup:internet");
    assert_eq!(reasons(all.0, all.1, ("n1", "autogroup:internet")), internet);
    assert_eq!(
        reasons(all.0, all.1, ("n1", "8.8.8.8"))[1],
        "destination: `autogroup:internet` contains 8.8.8.8"
    );
}
