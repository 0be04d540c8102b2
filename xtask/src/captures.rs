//! `cargo xtask captures`: compares the policy engine with what the official service sent for the same policies.
//!
//! The captures and their scorer lie beside the repository and are not part of it.

use crate::process::{in_ci, run, shared};
use crate::product::release_binary;
use std::path::Path;
use std::process::Command;

/// Runs the scorer on a release build; `args` go to the scorer, such as `--only REGEX` or `--show N`. Fails unless every
/// scored case passes.
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
    run(command.arg(&scorer).args(args).arg("--").arg(binary).args(["debug", "policy-eval"]))
}
