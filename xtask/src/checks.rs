//! `cargo xtask check`: formatting, tidy and clippy, the cheap one first.

use crate::process::{cargo, run};
use std::path::Path;

/// Lints on top of the workspace's own. Function length is left to clippy, which counts neither comments nor blank lines.
const EXTRA_LINTS: [&str; 2] = ["clippy::too_many_lines", "clippy::allow_attributes_without_reason"];

/// Everything a commit has to pass besides the tests.
pub fn check(root: &Path) -> Result<(), String> {
    run(&mut cargo(root, &["fmt", "--all", "--check"]))?;
    crate::tidy::tidy(root)?;
    let mut clippy = cargo(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    for lint in EXTRA_LINTS {
        clippy.args(["-D", lint]);
    }
    run(&mut clippy)
}
