//! `core/` has no IO, no clock, no async, no locks, no logging and no randomness (invariant I5).
//!
//! The bans in `core/clippy.toml` cover part of this. The rules here cover what clippy cannot see: dependencies, macros and keywords.

use super::test_code::production_lines;
use super::{Problem, SourceFile};
use crate::metadata::{Metadata, Package};
use std::collections::BTreeSet;

/// Packages that no core crate may depend on, directly or indirectly. A trailing `*` matches any suffix.
const BANNED_PACKAGES: &[&str] = &[
    "tokio*",
    "async-*",
    "futures*",
    "mio",
    "hyper*",
    "axum*",
    "rusqlite",
    "reqwest",
    "tracing*",
    "rand",
    "rand_chacha",
];

/// Text that may not occur in the sources of core outside of comments and tests, and why.
const BANNED_WORDS: &[(&str, &str)] = &[
    ("async fn", "core is synchronous"),
    (".await", "core is synchronous"),
    ("Instant::now", "callers pass the time in"),
    ("SystemTime", "callers pass the time in"),
    ("SystemRandom", "callers pass random bytes in"),
    ("getrandom", "callers pass random bytes in"),
    ("OsRng", "callers pass random bytes in"),
    ("std::fs", "core does no IO"),
    ("std::io::std", "core does no IO"),
    ("std::env", "core reads no environment"),
    ("std::process", "core starts no processes"),
    ("std::thread", "core starts no threads"),
    ("std::sync::atomic", "core has no shared mutable state"),
    ("Mutex<", "core has no locks"),
    ("RwLock<", "core has no locks"),
    ("HashMap", "its order is random"),
    ("HashSet", "its order is random"),
    ("log::", "core does not log"),
    ("println!", "core does not print"),
    ("eprint", "core does not print"),
    ("unsafe", "core has only safe code"),
];

/// Checks the direct and indirect dependencies of core crates in ordinary builds.
pub fn dependencies(metadata: &Metadata) -> Vec<Problem> {
    metadata.ours().filter(|p| is_core(p)).flat_map(|p| reached(metadata, p)).collect()
}

fn is_core(package: &Package) -> bool {
    let folder = package.manifest_path.parent().and_then(|crate_folder| crate_folder.parent());
    folder.and_then(|f| f.file_name()).is_some_and(|name| name == "core")
}

/// The banned packages that a package depends on, found by walking the resolved graph.
fn reached(metadata: &Metadata, from: &Package) -> Vec<Problem> {
    let mut seen = BTreeSet::new();
    let mut queue = vec![from.id.as_str()];
    let mut problems = Vec::new();
    while let Some(id) = queue.pop() {
        if !seen.insert(id) {
            continue;
        }
        let Some(node) = metadata.resolve.nodes.iter().find(|n| n.id == id) else { continue };
        for edge in node.deps.iter().filter(|e| e.dep_kinds.iter().any(|k| k.kind.is_none())) {
            let Some(used) = metadata.package(&edge.pkg) else { continue };
            if banned(&used.name) {
                let by = metadata.package(id).map_or(id, |p| p.name.as_str());
                problems.push(Problem::at(
                    &from.name,
                    format!("depends on `{}` through `{by}`, but core is pure", used.name),
                ));
            }
            queue.push(&edge.pkg);
        }
    }
    problems
}

fn banned(name: &str) -> bool {
    BANNED_PACKAGES.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *pattern,
    })
}

/// Looks for banned text in the sources of core crates, except in their tests.
pub fn sources(files: &[SourceFile]) -> Vec<Problem> {
    let tests = super::test_code::test_files(files);
    let is_source = |f: &&SourceFile| {
        f.is("rs")
            && f.path.starts_with("core/")
            && f.path.contains("/src/")
            && !tests.contains(f.path.as_str())
    };
    files.iter().filter(is_source).flat_map(words_of).collect()
}

fn words_of(file: &SourceFile) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (number, code) in production_lines(file) {
        for (word, why) in BANNED_WORDS {
            if code.contains(word) {
                problems.push(Problem::in_line(file, number, format!("`{word}` in core: {why}")));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::file;

    #[test]
    fn package_patterns_match_names_and_prefixes() {
        assert!(banned("tokio") && banned("tokio-util") && banned("async-trait") && banned("rand"));
        assert!(!banned("rand_core") && !banned("serde") && !banned("mio-like"));
    }

    #[test]
    fn i5_core_is_pure() {
        let root = crate::repository();
        let metadata = crate::metadata::load(&root).unwrap();
        assert!(metadata.ours().filter(|p| is_core(p)).count() >= 6);
        assert_eq!(dependencies(&metadata), []);
        assert_eq!(sources(&crate::tidy::text_files(&root).unwrap()), []);
    }

    #[test]
    fn banned_words_are_found_in_production_code_of_core_only() {
        let text = "//! No async fn here.\nfn f() { let _ = std::time::Instant::now(); }\n#[cfg(test)]\nmod tests { use std::fs; }\n";
        let found = sources(&[
            file("core/x/src/lib.rs", text),
            file("core/y/src/lib.rs", "#[cfg(test)]\nmod tests;\n"),
            file("core/y/src/tests.rs", text),
            file("core/x/tests/law.rs", text),
            file("shell/x/src/lib.rs", text),
        ]);
        assert_eq!(
            found,
            [Problem::at("core/x/src/lib.rs:2", "`Instant::now` in core: callers pass the time in")]
        );
    }
}
