//! `cargo xtask captures`: the policy engine against what the official service sent for the same policies.
//!
//! The captures and their scorer lie beside the repository and are no part of it.

use crate::process::{announce, cannot_start, in_ci, run, shared};
use crate::product::release_binary;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

/// Scores all captures. With arguments for the scorer, such as `--only REGEX` or `--show N`, its verdict counts as it is.
pub fn captures(root: &Path, args: &[String]) -> Result<(), String> {
    let scorer = shared(root).join("policy-captures").join("score.py");
    if !scorer.is_file() {
        let missing = format!(
            "no scorer at `{}`; set HEADSAIL_SHARED to the folder with the captures",
            scorer.display()
        );
        if in_ci() {
            return Err(missing);
        }
        println!("captures skipped: {missing}");
        return Ok(());
    }
    let binary = release_binary(root)?;
    let mut command = Command::new("python3");
    command.arg(&scorer);
    if !args.is_empty() {
        return run(command.args(args).arg("--").arg(binary).args(["debug", "policy-eval"]));
    }
    command.args(["--show", "1000000", "--"]).arg(binary).args(["debug", "policy-eval"]);
    announce(&command);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|e| cannot_start(&command, &e))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if wrong(&said).is_none() {
        return Err(format!("the scorer gave no score ({})", output.status));
    }
    judge(&said, &scorer.with_file_name("cases"))
}

/// Tells of the cases that differ although they can be answered.
fn judge(said: &str, cases: &Path) -> Result<(), String> {
    let told = differing(said);
    let wrong = wrong(said).unwrap_or_default();
    if told.len() as u64 != wrong {
        return Err(format!("the scorer counts {wrong} that differ and tells of {}", told.len()));
    }
    let mut unexpected = 0;
    for (name, differences) in told {
        let file = cases.join(format!("{name}.json"));
        let text = std::fs::read(&file).map_err(|e| format!("cannot read `{}`: {e}", file.display()))?;
        let case = serde_json::from_slice(&text).map_err(|e| format!("`{}`: {e}", file.display()))?;
        if !cannot_be_answered(&case, &differences) {
            unexpected += 1;
            println!("{name}:\n    {}", differences.join("\n    "));
        }
    }
    said.lines().filter(|line| line.contains(" of ") && !line.starts_with(' ')).for_each(|l| println!("{l}"));
    println!("{} that differ cannot be answered from what the scorer tells", wrong - unexpected);
    match unexpected {
        0 => Ok(()),
        n => Err(format!("{n} captures differ; `--only REGEX` looks at some of them")),
    }
}

/// The captures that differ, from the last line of the scorer: `policy captures: 459 of 520`.
fn wrong(said: &str) -> Option<u64> {
    let score = said.lines().rev().find_map(|line| line.strip_prefix("policy captures: "))?;
    let (right, all) = score.split_once(" of ")?;
    all.trim().parse::<u64>().ok()?.checked_sub(right.parse().ok()?)
}

/// The cases that differ by folder and name, each with what differs: `FOLDER/NAME: 2 differences`, then a line for each.
fn differing(said: &str) -> Vec<(&str, Vec<&str>)> {
    let mut cases: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in said.lines() {
        let head = line.strip_suffix(" differences").and_then(|l| l.rsplit_once(": "));
        match (line.strip_prefix("    "), head, cases.last_mut()) {
            (Some(difference), _, Some((_, differences))) => differences.push(difference),
            (None, Some((name, _)), _) => cases.push((name, Vec::new())),
            _ => {}
        }
    }
    cases
}

/// Whether the right answer does not follow from what the scorer tells of a case: which of two equal routers the service
/// elected, a route that was approved while the case was recorded, a message that names a domain which the case no longer
/// has. The tests of `core/policy` add what is missing and compare these, too.
fn cannot_be_answered(case: &Value, differences: &[&str]) -> bool {
    let of_routes = |d: &&str| {
        d.split_once(": peer ").is_some_and(|(_, d)| d.contains(" allowed_ips: ") || d.contains(" primary: "))
    };
    match case["error"] == true || case["code"] != 200 {
        true => differences.iter().all(|d| d.starts_with("refused as ")) && names_another_domain(case),
        false => differences.iter().all(of_routes) && (was_elected(case) || was_approved_late(case)),
    }
}

fn names_another_domain(case: &Value) -> bool {
    let (message, policy) = (case["message"].as_str(), case["policy"].as_str());
    let named = message.and_then(|m| m.split_once(" is not associated")).map(|(domain, _)| domain);
    named.zip(policy).is_some_and(|(domain, policy)| !policy.contains(domain))
}

/// The texts of a list; none where there is none.
fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Whether a node is in charge of a route that an earlier one serves too: nodes are told by name, elections follow the
/// order in which they were registered.
fn was_elected(case: &Value) -> bool {
    let nodes: Vec<(&String, &Value)> = case["nodes"].as_object().into_iter().flatten().collect();
    let serves = |node: &Value, route: &str| {
        texts(&node["routable_ips"]).chain(texts(&node["approved_routes"])).filter(|r| *r == route).count()
            > 1
    };
    nodes.iter().enumerate().any(|(at, (name, _))| {
        let mut primary = texts(&case["want"][*name]["self"]["primary"]);
        primary.any(|route| nodes.iter().take(at).any(|(_, earlier)| serves(earlier, route)))
    })
}

/// Whether a node without approved routes serves one for somebody.
fn was_approved_late(case: &Value) -> bool {
    let wants: Vec<&Value> = case["want"].as_object().into_iter().flat_map(|w| w.values()).collect();
    case["nodes"].as_object().into_iter().flatten().any(|(name, node)| {
        let told = wants.iter().map(|want| &want["peers"][name]).chain([&case["want"][name]["self"]]);
        texts(&node["approved_routes"]).next().is_none()
            && told.into_iter().any(|v| texts(&v["primary"]).next().is_some())
    })
}

#[cfg(test)]
mod tests {
    use super::{cannot_be_answered, differing, wrong};
    use serde_json::json;

    #[test]
    fn what_differs_is_read_by_case() {
        let said = "a/x: 2 differences\n    one\n    two: 3\na/y: 1 differences\n    z\na: 1 of 3\npolicy captures: 1 of 3\n";
        assert_eq!(differing(said), [("a/x", vec!["one", "two: 3"]), ("a/y", vec!["z"])]);
    }

    #[test]
    fn only_what_does_not_follow_from_the_question_may_differ() {
        let route = ["192.0.2.0/24"];
        let node = json!({"routable_ips": route, "approved_routes": route});
        let mut case = json!({"error": false, "code": 200, "nodes": {"a": node, "b": node},
            "want": {"a": {"self": {}}, "b": {"self": {"primary": route}}}});
        let of_routes = ["a: peer b primary: want ['192.0.2.0/24'] got []"];
        assert!(cannot_be_answered(&case, &of_routes));
        assert!(!cannot_be_answered(&case, &[of_routes[0], "a: rule 0 of 1 (got 0): want x got None"]));
        case["nodes"]["a"]["approved_routes"] = json!([]);
        assert!(!cannot_be_answered(&case, &of_routes), "nobody else serves it");
        case["nodes"]["b"]["approved_routes"] = json!([]);
        assert!(cannot_be_answered(&case, &of_routes), "it was approved later");

        let refused =
            ["refused as 'A.ORG is not associated with x'; the service said 'B is not associated with x'"];
        let mut case =
            json!({"error": true, "code": 400, "message": "B is not associated with x", "policy": "a.org"});
        assert!(cannot_be_answered(&case, &refused));
        assert!(!cannot_be_answered(
            &case,
            &["accepted; the service refused it: 'B is not associated with x'"]
        ));
        case["policy"] = "user:*@B".into();
        assert!(!cannot_be_answered(&case, &refused));
    }

    #[test]
    fn the_score_is_read_from_the_last_line() {
        assert_eq!(wrong("acl_results: 1 of 9\npolicy captures: 7 of 9\n"), Some(2));
        assert_eq!(wrong("policy captures: 9 of 9\n"), Some(0));
        assert_eq!(wrong("520 cases, 3 answers, exit status 1\n"), None);
        assert_eq!(wrong("policy captures: 9 of 7\n"), None);
    }
}
