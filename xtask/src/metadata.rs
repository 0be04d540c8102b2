//! The parts of `cargo metadata` that tidy uses.

use crate::process::{capture, cargo};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
pub struct Metadata {
    /// Every package of the dependency graph, including those of the workspace.
    pub packages: Vec<Package>,
    /// Ids of the packages of the workspace.
    pub workspace_members: BTreeSet<String>,
    /// The folder for build output.
    pub target_directory: PathBuf,
    pub resolve: Resolve,
}

/// One package, of the workspace or from elsewhere.
#[derive(Deserialize)]
pub struct Package {
    pub id: String,
    pub name: String,
    pub version: String,
    /// An SPDX expression. Absent if the package names only a licence file.
    pub license: Option<String>,
    /// Path of its `Cargo.toml`.
    pub manifest_path: PathBuf,
    /// Direct dependencies.
    pub dependencies: Vec<Dependency>,
}

/// One entry under `[dependencies]` or its relatives.
#[derive(Deserialize)]
pub struct Dependency {
    pub name: String,
    /// The name that sources use instead, if the entry renames the package.
    pub rename: Option<String>,
    /// `dev` or `build`; absent for an ordinary dependency.
    pub kind: Option<String>,
}

impl Dependency {
    /// The key of its entry in `Cargo.toml`.
    pub fn key(&self) -> &str {
        self.rename.as_deref().unwrap_or(&self.name)
    }
}

/// The resolved graph.
#[derive(Deserialize)]
pub struct Resolve {
    /// One entry for each package.
    pub nodes: Vec<Resolved>,
}

#[derive(Deserialize)]
pub struct Resolved {
    pub id: String,
    pub deps: Vec<Edge>,
}

#[derive(Deserialize)]
pub struct Edge {
    pub pkg: String,
    /// The kinds of this dependency.
    pub dep_kinds: Vec<EdgeKind>,
}

/// A kind of dependency.
#[derive(Deserialize)]
pub struct EdgeKind {
    /// `dev` or `build`; absent for an ordinary dependency.
    pub kind: Option<String>,
}

impl Metadata {
    pub fn ours(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|p| self.workspace_members.contains(&p.id))
    }

    pub fn package(&self, id: &str) -> Option<&Package> {
        self.packages.iter().find(|p| p.id == id)
    }
}

/// Runs `cargo metadata` for the whole graph.
pub fn load(root: &Path) -> Result<Metadata, String> {
    let text = capture(&mut cargo(root, &["metadata", "--format-version", "1", "--quiet"]))?;
    serde_json::from_str(&text).map_err(|e| format!("could not parse the output of `cargo metadata`: {e}"))
}
