//! `cargo xtask captures`: the policy engine against what the official service sent for the same policies.
//!
//! The captures and their scorer lie beside the repository and are no part of it.

use crate::process::{announce, cannot_start, in_ci, run, shared};
use crate::product::release_binary;
use std::path::Path;
use std::process::{Command, Stdio};

/// Cases whose answer does not follow from what the scorer tells of them: which of two equal routers the service elected
/// (59), a route that was approved while the case was recorded (1), a message that names a domain which the case no longer
/// has (1). The tests of `core/policy` add what is missing and compare these, too.
const UNANSWERABLE: u64 = 61;

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
    command.arg(scorer);
    if !args.is_empty() {
        return run(command.args(args).arg("--").arg(binary).args(["debug", "policy-eval"]));
    }
    command.args(["--show", "0", "--"]).arg(binary).args(["debug", "policy-eval"]);
    announce(&command);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|e| cannot_start(&command, &e))?;
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    match wrong(&said) {
        None => Err(format!("the scorer gave no score ({})", output.status)),
        Some(n) if n <= UNANSWERABLE => {
            println!("{n} differ; {UNANSWERABLE} cannot be answered from what the scorer tells");
            Ok(())
        }
        Some(n) => Err(format!(
            "{n} captures differ, {} more than cannot be answered; `--show 100` says how",
            n - UNANSWERABLE
        )),
    }
}

/// The captures that differ, from the last line of the scorer: `policy captures: 459 of 520`.
fn wrong(said: &str) -> Option<u64> {
    let score = said.lines().rev().find_map(|line| line.strip_prefix("policy captures: "))?;
    let (right, all) = score.split_once(" of ")?;
    all.trim().parse::<u64>().ok()?.checked_sub(right.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::wrong;

    #[test]
    fn the_score_is_read_from_the_last_line() {
        assert_eq!(wrong("acl_results: 1 of 9\npolicy captures: 7 of 9\n"), Some(2));
        assert_eq!(wrong("policy captures: 9 of 9\n"), Some(0));
        assert_eq!(wrong("520 cases, 3 answers, exit status 1\n"), None);
        assert_eq!(wrong("policy captures: 9 of 7\n"), None);
    }
}
