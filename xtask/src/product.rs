//! The product, built as users get it.

use crate::metadata;
use crate::process::{cargo, run};
use std::path::{Path, PathBuf};

/// Builds the product in release and returns the path of the binary.
pub fn release_binary(root: &Path) -> Result<PathBuf, String> {
    run(&mut cargo(root, &["build", "--release", "--package", "headsail"]))?;
    let target = metadata::load(root)?.target_directory;
    Ok(target.join("release").join(format!("headsail{}", std::env::consts::EXE_SUFFIX)))
}
