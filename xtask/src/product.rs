//! The release build of the server.

use crate::metadata;
use crate::process::{cargo, run};
use std::path::{Path, PathBuf};

/// Makes a release build of the `headsail` binary and returns its path.
pub fn release_binary(root: &Path) -> Result<PathBuf, String> {
    run(&mut cargo(root, &["build", "--release", "--package", "headsail"]))?;
    let target = metadata::load(root)?.target_directory;
    Ok(target.join("release").join(format!("headsail{}", std::env::consts::EXE_SUFFIX)))
}
