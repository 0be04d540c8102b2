//! `cargo xtask captures`: the policy engine against what the official service sent for the same policies.
//!
//! The captures and their scorer lie beside the repository and are no part of it.

use crate::process::{in_ci, release_binary, run, shared};
use std::path::Path;
use std::process::Command;

/// Scores all captures; arguments such as `--only REGEX` and `--show N` go to the scorer.
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
    command.arg(scorer).args(args).arg("--").arg(binary).args(["debug", "policy-eval"]);
    run(&mut command)
}
