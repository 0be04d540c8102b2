//! What cargo knows of the workspace and its dependencies, as far as tidy looks at it.

use crate::process::{capture, cargo};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The part of `cargo metadata` that we read.
#[derive(Deserialize)]
pub struct Metadata {
    /// Every package of the dependency graph, ours among them.
    pub packages: Vec<Package>,
    /// Ids of the packages of this workspace.
    pub workspace_members: BTreeSet<String>,
    /// Where cargo puts what it builds.
    pub target_directory: PathBuf,
    /// Which package uses which.
    pub resolve: Resolve,
}

/// One package, ours or of somebody else.
#[derive(Deserialize)]
pub struct Package {
    /// Unique among all packages.
    pub id: String,
    /// Its name, as in `Cargo.toml`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SPDX expression, absent where the package names only a licence file.
    pub license: Option<String>,
    /// Path of its `Cargo.toml`.
    pub manifest_path: PathBuf,
    /// What it asks for directly.
    pub dependencies: Vec<Dependency>,
}

/// One entry under `[dependencies]` or its relatives.
#[derive(Deserialize)]
pub struct Dependency {
    /// The package asked for.
    pub name: String,
}

/// The resolved graph.
#[derive(Deserialize)]
pub struct Resolve {
    /// One entry a package.
    pub nodes: Vec<Resolved>,
}

/// The packages that one package uses.
#[derive(Deserialize)]
pub struct Resolved {
    /// The package.
    pub id: String,
    /// What it uses.
    pub deps: Vec<Edge>,
}

/// One use of a package.
#[derive(Deserialize)]
pub struct Edge {
    /// The package that is used.
    pub pkg: String,
    /// In which roles.
    pub dep_kinds: Vec<EdgeKind>,
}

/// A role: ordinary, `dev` or `build`.
#[derive(Deserialize)]
pub struct EdgeKind {
    /// Absent for an ordinary dependency.
    pub kind: Option<String>,
}

impl Metadata {
    /// The packages of this workspace.
    pub fn ours(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|p| self.workspace_members.contains(&p.id))
    }

    /// The package with this id.
    pub fn package(&self, id: &str) -> Option<&Package> {
        self.packages.iter().find(|p| p.id == id)
    }
}

/// Asks cargo for the whole graph.
pub fn load(root: &Path) -> Result<Metadata, String> {
    let text = capture(&mut cargo(root, &["metadata", "--format-version", "1", "--quiet"]))?;
    serde_json::from_str(&text).map_err(|e| format!("cannot read what `cargo metadata` printed: {e}"))
}
