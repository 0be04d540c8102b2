//! Hostile policies are refused with a reason or applied within bounds, and never cause a panic.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken fixture ends the test")]

use std::fmt::Write;
use std::sync::Arc;

use headsail_policy::{
    Comparison, Engine, MAX_TEXT, NodeFacts, Owner, Policy, Role, Settings, UserFacts, render,
};
use headsail_wire::ids::{NodeId, UserId};

fn parse(text: &str) -> Result<Policy, String> {
    Policy::parse(text, &Settings::default()).map_err(|e| e.to_string())
}

fn engine(policy: Policy) -> Engine {
    let id = UserId::new(1).expect("an id");
    let user = UserFacts {
        id,
        name: "ann".into(),
        email: "ann@example.org".into(),
        provider_id: String::new(),
        display: String::new(),
        role: Role::Member,
    };
    let node = |i: u64| {
        let owner = if i == 1 { Owner::User(id) } else { Owner::Tags(vec![format!("tag:t{i}")]) };
        let v4 = format!("100.64.0.{i}").parse().ok();
        NodeFacts::new(NodeId::new(i).expect("an id"), owner, v4, None)
    };
    Engine::new(Arc::new(policy), [user], (1..=3).map(node))
}

#[test]
fn an_oversized_text_is_refused_before_parsing() {
    let error = parse(&" ".repeat(10 << 20)).expect_err("ten megabytes");
    assert_eq!(
        error,
        format!("line 1, column 1: the policy has {} bytes; at most {MAX_TEXT} are allowed", 10 << 20)
    );
}

#[test]
fn deep_nesting_is_refused() {
    for open in ["[", "{\"a\":"] {
        let error = parse(&open.repeat(200_000)).expect_err("nothing closes it");
        assert!(error.contains("not valid HuJSON"), "{error}");
    }
}

#[test]
fn a_huge_group_in_thousands_of_rules_is_handled() {
    let mut text = String::from("{\"groups\": {\"group:big\": [");
    (0..50_000).for_each(|i| write!(text, "\"u{i}@example.org\",").expect("memory"));
    text += "\"ann@example.org\"],";
    (0..5_000).for_each(|i| write!(text, "\"group:g{i}\": [],").expect("memory"));
    text += "}, \"grants\": [";
    let rule = |i| {
        format!("{{\"src\":[\"group:g{i}\",\"group:big\"],\"dst\":[\"group:g{i}\"],\"ip\":[\"{}\"]}},", i + 1)
    };
    (0..5_000).for_each(|i| text += &rule(i));
    text += "{\"src\":[\"group:big\"],\"dst\":[\"*\"],\"ip\":[\"22\"]}]}";
    let e = engine(parse(&text).expect("large, but fine"));
    assert_eq!(e.filter(NodeId::new(2).expect("an id")).len(), 1);
}

#[test]
fn cycles_of_tag_owners_terminate() {
    let n = 20_000;
    let mut text = String::from("{\"tagOwners\": {");
    (0..n).for_each(|i| write!(text, "\"tag:t{i}\": [\"tag:t{}\"],", (i + 1) % n).expect("memory"));
    let policy = parse(&(text + "}}")).expect("the service accepts cycles");
    assert!(policy.warnings().iter().any(|w| w.code == "tag-cycle"));
    let e = engine(policy);
    assert!(!e.owns_tag(UserId::new(1).expect("an id"), "tag:t0"));
}

/// Sets, each nested in the one before, and as many rules that name them.
fn chain(length: usize, rules: usize) -> String {
    let sets = (0..length)
        .map(|i| format!("\"ipset:t{i}\": [\"ipset:t{}\", \"10.0.{}.{}\"],", i + 1, i / 250, i % 250));
    let rule = |i| format!("{{\"src\":[\"*\"],\"dst\":[\"ipset:t{}\"],\"ip\":[\"{}\"]}},", i % length, i + 1);
    format!(
        "{{\"ipsets\": {{{}\"ipset:t{length}\": [\"10.1.0.1\"]}}, \"grants\": [{}]}}",
        sets.collect::<String>(),
        (0..rules).map(rule).collect::<String>()
    )
}

#[test]
fn sets_of_addresses_count_expanded() {
    engine(parse(&chain(400, 400)).expect("eighty thousand addresses"));
    for length in [5_000, 60_000] {
        let error = parse(&chain(length, 1)).expect_err("millions of addresses");
        assert!(error.contains("the ipsets expand to more than 250000 entries"), "{error}");
    }
    let error = parse(&chain(400, 4_000)).expect_err("eight hundred thousand destinations");
    assert!(error.contains("the rules open 806000 combinations of destination and port"), "{error}");
    let sources = chain(400, 4_000).replace("\"src\":[\"*\"],\"dst\"", "\"dst\":[\"*\"],\"src\"");
    let error = parse(&sources).expect_err("as many sources");
    assert!(error.contains("the policy names 806000 sources and targets"), "{error}");
}

#[test]
fn twenty_thousand_rules_that_match_every_node_of_a_user_are_handled() {
    let rule = |i| {
        format!(
            "{{\"src\":[\"10.{}.{}.{}\"],\"dst\":[\"*\"],\"ip\":[\"{}\"]}},",
            i >> 16,
            i >> 8 & 255,
            i & 255,
            i + 1
        )
    };
    let text = format!("{{\"grants\": [{}]}}", (0..20_000).map(rule).collect::<String>());
    let mut e = engine(parse(&text).expect("large, but fine"));
    let node = |i| {
        NodeFacts::new(
            NodeId::new(i).expect("an id"),
            Owner::User(UserId::new(1).expect("an id")),
            None,
            None,
        )
    };
    (10..70).for_each(|i| e.upsert_node(node(i)));
    let before = e.clone();
    let joined = NodeFacts { v4: "100.64.0.70".parse().ok(), ..node(70) };
    e.upsert_node(joined.clone());
    let comparison = Comparison::new(&before, &e);
    assert_eq!(
        comparison.touched().map(|(id, _)| id).collect::<Vec<_>>(),
        [joined.id],
        "the others are told nothing"
    );
    assert_eq!(e.filter(joined.id).len(), 20_000);
}

#[test]
fn removals_from_sets_count_too() {
    let holes = (0..1_000).map(|i| format!("\"remove 10.{}.{}.1\",", i / 250, i % 250)).collect::<String>();
    let nested = (8..32).map(|i| format!("\"10.0.0.0/{i}\",")).collect::<String>();
    let sets: String = (0..200).map(|i| format!("\"ipset:s{i}\": [{nested}{holes}],")).collect();
    let error = parse(&format!("{{\"ipsets\": {{{sets}}}}}")).expect_err("a piece between any two holes");
    assert!(error.contains("the ipsets expand to"), "{error}");
}

#[test]
fn sets_of_addresses_that_contain_each_other_are_refused() {
    let names: Vec<String> = (0..200).map(|i| format!("\"ipset:s{i}\"")).collect();
    let all = names.join(",");
    let sets: Vec<String> = names.iter().map(|n| format!("{n}: [{all}, \"10.0.0.1\"]")).collect();
    let error = parse(&format!("{{\"ipsets\": {{{}}}}}", sets.join(","))).expect_err("circles");
    assert!(error.contains("ipsets[\"ipset:s0\"]: an ipset can not contain itself"), "{error}");
}

#[test]
fn tests_times_rules_are_bounded() {
    let rules: String = (0..20_000)
        .map(|i| format!("{{\"src\":[\"10.1.{}.{}\"],\"dst\":[\"*\"],\"ip\":[\"1\"]}},", i / 250, i % 250))
        .collect();
    let test = "{\"src\": \"10.0.0.1\", \"accept\": [\"10.0.0.2:80\"]},".repeat(5_000);
    let error =
        parse(&format!("{{\"grants\": [{rules}], \"tests\": [{test}]}}")).expect_err("too many steps");
    assert!(error.contains("the tests would take 200000000 steps"), "{error}");
}

#[test]
fn too_many_ports_are_refused() {
    let ports: Vec<String> = (1..60_000).map(|p| format!("\"{p}\"")).collect();
    let tags: Vec<String> = (0..50).map(|t| format!("\"tag:t{t}\"")).collect();
    let owners: Vec<String> = tags.iter().map(|t| format!("{t}: []")).collect();
    let text = format!(
        "{{\"tagOwners\": {{{}}}, \"grants\": [{{\"src\":[\"*\"],\"dst\":[{}],\"ip\":[{}]}}]}}",
        owners.join(","),
        tags.join(","),
        ports.join(",")
    );
    let error = parse(&text).expect_err("three million combinations");
    assert!(error.contains("combinations of destination and port"), "{error}");
}

#[test]
fn findings_are_bounded_and_the_first_are_kept() {
    let rules = "{\"src\":[\"tag:no\"],\"dst\":[\"*\"],\"ip\":[\"*\"]},".repeat(20_000);
    let text = format!("{{\"grants\": [{rules}]}}");
    let refusal = Policy::parse(&text, &Settings::default()).expect_err("unknown tags");
    assert!(refusal.diagnostics.len() < 300, "{}", refusal.diagnostics.len());
    assert!(refusal.to_string().starts_with("line 1, column 21: src=tag not found: \"tag:no\""));
}

#[test]
fn test_failures_are_bounded_and_have_a_place() {
    let test = "{\"src\": \"ann@example.org\", \"accept\": [\"10.0.0.1:22\", \"10.0.0.2:22\"]},\n";
    let long = format!("{{\"src\": \"{}@\", \"deny\": [\"10.0.0.1:22\"]}},\n", "x".repeat(100_000));
    let text = format!("{{\"grants\": [], \"tests\": [\n{long}{}]}}", test.repeat(1_000));
    let failures = engine(parse(&text).expect("well-formed")).run_tests();
    assert_eq!(failures.len(), 201);
    assert!(failures[0].src.len() < 1_000 && failures[0].message.len() < 1_000, "{}", failures[0].src.len());
    let places: Vec<_> = failures[1..4].iter().map(|f| (f.line, f.column, f.length)).collect();
    assert_eq!(places, [(3, 39, 13), (3, 54, 13), (4, 39, 13)]);
    let said = "line 3, column 39: ann@example.org: 10.0.0.1:22: `ann@example.org` must reach `10.0.0.1:22`, but no rule allows it";
    assert_eq!(failures[1].to_string(), said);
    assert_eq!(failures[200].to_string(), "and 1801 more");
}

#[test]
fn findings_are_rendered_with_their_line() {
    let text = "{\n\t// who may what\n\t\"acls\": [{\"action\": \"deny\", \"src\": [\"*\"], \"dst\": [\"*:*\"]}],\n}\n";
    let refusal = Policy::parse(text, &Settings::default()).expect_err("deny");
    let shown = render("policy.hujson", text, &refusal.diagnostics);
    let expected = "error[invalid-action]: action=\"deny\" is not supported
 --> policy.hujson:3:22
  |
3 |  \"acls\": [{\"action\": \"deny\", \"src\": [\"*\"], \"dst\": [\"*:*\"]}],
  |                      ^^^^^^
  = help: the only action is `accept`; what no rule accepts is refused
";
    assert_eq!(shown, expected);
    let fields = serde_json::to_value(&refusal.diagnostics[0]).expect("JSON");
    assert_eq!(
        (fields["line"].as_u64(), fields["column"].as_u64(), fields["length"].as_u64()),
        (Some(3), Some(22), Some(6))
    );
}

#[test]
fn an_invalid_question_gets_an_error_as_answer() {
    for line in ["", "{}", "[]", "{\"policy\": 1}", "{\"policy\": \"{}\", \"nodes\": {\"a\": 3}}"] {
        let answer: serde_json::Value =
            serde_json::from_str(&headsail_policy::eval::answer(line)).expect("JSON");
        assert!(answer["error"].is_string(), "{line}: {answer}");
    }
}
