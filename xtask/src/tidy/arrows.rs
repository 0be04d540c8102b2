//! Which of our crates may depend on which: the table of arrows in `ARCHITECTURE.md`, for all kinds of dependencies.

use super::Problem;
use crate::metadata::Metadata;

const CORE: &[&str] = &[
    "headsail-wire",
    "headsail-noise",
    "headsail-derp",
    "headsail-policy",
    "headsail-netmap",
    "headsail-tailnet",
];

/// The crates that each crate may use. `core` stands for all of [`CORE`].
const ALLOWED: &[(&str, &[&str])] = &[
    ("headsail-wire", &[]),
    ("headsail-noise", &["headsail-wire"]),
    ("headsail-derp", &["headsail-wire"]),
    ("headsail-policy", &["headsail-wire"]),
    ("headsail-netmap", &["headsail-wire"]),
    ("headsail-tailnet", &["headsail-wire", "headsail-policy", "headsail-netmap"]),
    ("headsail-store", &["headsail-tailnet", "headsail-wire"]),
    ("headsail-api", &[]),
    ("headsail-server", &["core", "headsail-store", "headsail-api"]),
    ("headsail", &["headsail-server", "headsail-api", "headsail-policy", "headsail-store", "headsail-wire"]),
    ("headsail-sim", &["core", "headsail-api"]),
    ("headsail-load", &["core", "headsail-api"]),
    ("xtask", &[]),
];

/// Checks every direct dependency between crates of the workspace.
pub fn check(metadata: &Metadata) -> Vec<Problem> {
    let ours: Vec<&str> = metadata.ours().map(|p| p.name.as_str()).collect();
    let mut problems = Vec::new();
    for package in metadata.ours() {
        let uses = package.dependencies.iter().map(|d| d.name.as_str()).filter(|name| ours.contains(name));
        problems.extend(uses.filter_map(|used| arrow(&package.name, used)));
    }
    problems
}

/// The problem if `from` may not use `to`.
fn arrow(from: &str, to: &str) -> Option<Problem> {
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == from) else {
        return Some(Problem::at(
            from,
            "is not in the table of arrows: add what it may use to xtask/src/tidy/arrows.rs",
        ));
    };
    let fine = allowed.contains(&to) || (allowed.contains(&"core") && CORE.contains(&to));
    (!fine).then(|| Problem::at(from, format!("may not use `{to}`, only {allowed:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_arrows_of_the_table_are_allowed() {
        assert_eq!(arrow("headsail-tailnet", "headsail-policy"), None);
        assert_eq!(arrow("headsail-server", "headsail-noise"), None);
        assert_eq!(arrow("headsail-load", "headsail-derp"), None);
        for (from, to) in [
            ("headsail-wire", "headsail-tailnet"),
            ("headsail-api", "headsail-wire"),
            ("headsail-server", "headsail-sim"),
            ("headsail", "headsail-tailnet"),
            ("headsail-sim", "headsail-store"),
            ("headsail-new", "headsail-wire"),
        ] {
            assert!(arrow(from, to).is_some(), "{from} -> {to}");
        }
    }

    #[test]
    fn the_table_has_no_cycle() {
        // Every crate may use only crates that are above it in the table.
        for (place, (name, allowed)) in ALLOWED.iter().enumerate() {
            for used in allowed.iter().filter(|used| **used != "core") {
                let above = ALLOWED.iter().take(place).any(|(other, _)| other == used);
                assert!(above, "{name} may use {used}, which is below it");
            }
        }
    }
}
