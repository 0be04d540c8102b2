//! Compares the engine with what the official service sent to nodes for several hundred policies. The captures lie beside
//! the repository, and so does the scorer that compares them; without them the test says so and passes, except under CI.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken fixture ends the test")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Prints a question for each case on one line, reads the answer from standard input, and prints the differences as a
/// list on the next line.
const SCORE: &str = "\
import glob, json, os, sys
sys.path.insert(0, sys.argv[1])
import score
for path in sorted(glob.glob(os.path.join(sys.argv[1], 'cases', '*', '*.json'))):
    case = json.load(open(path))
    print(json.dumps(score.given(case)), flush=True)
    print(json.dumps(list(score.compare(case, json.loads(sys.stdin.readline())))), flush=True)
";

#[test]
fn answers_match_the_official_service() {
    let Some(dir) = captures() else { return };
    let mut python = Command::new("python3");
    python.args(["-B", "-c", SCORE]).arg(&dir).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut scorer = python.spawn().expect("python3, which the scorer needs");
    let mut answers = scorer.stdin.take().expect("a pipe");
    let mut lines = BufReader::new(scorer.stdout.take().expect("a pipe")).lines();
    let (mut total, mut failed) = (0, Vec::new());
    while let Some(question) = lines.next() {
        let question = question.expect("the scorer prints UTF-8");
        let answer = headsail_policy::eval::answer(&question);
        writeln!(answers, "{answer}").expect("the scorer reads every answer");
        let differences = lines.next().expect("a verdict on every answer").expect("the scorer prints UTF-8");
        let differences: Vec<String> = serde_json::from_str(&differences).expect("a list of texts");
        total += 1;
        if let Some(first) = differences.first() {
            let question: Value = serde_json::from_str(&question).expect("a question is JSON");
            failed.push(format!("{}: {first}", question["id"]));
        }
    }
    drop(answers);
    let status = scorer.wait().expect("the scorer ends");
    assert!(status.success(), "the scorer ended with {status}");
    assert!(total > 0, "no captures in `{}`", dir.display());
    assert!(failed.is_empty(), "{} of {total} differ:\n{}", failed.len(), failed.join("\n"));
}

fn captures() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("HEADSAIL_SHARED").map_or(beside, PathBuf::from);
    let dir = shared.join("policy-captures");
    if !dir.is_dir() {
        assert!(std::env::var_os("CI").is_none(), "no captures at `{}`", dir.display());
        println!("skipped: no captures at `{}`", dir.display());
        return None;
    }
    Some(dir)
}
