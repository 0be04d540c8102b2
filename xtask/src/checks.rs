//! `cargo xtask check`: formatting, tidy and clippy, cheapest first. Under a minute once dependencies are built.

use crate::process::{cargo, run};
use std::path::Path;

/// Everything that a commit has to pass, except the tests.
pub fn check(root: &Path) -> Result<(), String> {
    run(&mut cargo(root, &["fmt", "--all", "--check"]))?;
    crate::tidy::tidy(root)?;
    run(&mut cargo(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}
