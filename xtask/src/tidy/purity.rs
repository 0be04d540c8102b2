//! `core/` has no IO, no clock, no async, no locks, no logging and no chance (invariant I5).
//!
//! Clippy's bans in `core/clippy.toml` cover part of that; here is what it cannot see: dependencies, macros and words of the language.

use super::{Problem, SourceFile};
use crate::metadata::{Metadata, Package};
use std::collections::BTreeSet;

/// Packages that no core crate may reach, not even through others. A trailing `*` stands for any ending.
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

/// What the sources of core may not say outside of comments and tests, and why.
const BANNED_WORDS: &[(&str, &str)] = &[
    ("async fn", "core is called and answers at once"),
    (".await", "core is called and answers at once"),
    ("Instant::now", "the time is handed in"),
    ("SystemTime", "the time is handed in"),
    ("SystemRandom", "chance is handed in"),
    ("getrandom", "chance is handed in"),
    ("OsRng", "chance is handed in"),
    ("std::fs", "core does no IO"),
    ("std::io::std", "core does no IO"),
    ("std::env", "core reads no environment"),
    ("std::process", "core starts nothing"),
    ("std::thread", "core has no threads"),
    ("std::sync::atomic", "core shares nothing that changes"),
    ("Mutex<", "core has no locks"),
    ("RwLock<", "core has no locks"),
    ("HashMap", "its order is chance"),
    ("HashSet", "its order is chance"),
    ("log::", "core does not log"),
    ("println!", "core does not print"),
    ("eprint", "core does not print"),
    ("unsafe", "core is safe code"),
];

/// Looks at everything that core crates use in ordinary builds, directly or not.
pub fn dependencies(metadata: &Metadata) -> Vec<Problem> {
    metadata.ours().filter(|p| is_core(p)).flat_map(|p| reached(metadata, p)).collect()
}

fn is_core(package: &Package) -> bool {
    let folder = package.manifest_path.parent().and_then(|crate_folder| crate_folder.parent());
    folder.and_then(|f| f.file_name()).is_some_and(|name| name == "core")
}

/// The banned packages in reach of a package, found by walking the resolved graph.
fn reached(metadata: &Metadata, from: &Package) -> Vec<Problem> {
    let mut seen = BTreeSet::new();
    let mut waiting = vec![from.id.as_str()];
    let mut problems = Vec::new();
    while let Some(id) = waiting.pop() {
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
                    format!("reaches `{}` through `{by}`: core is pure", used.name),
                ));
            }
            waiting.push(&edge.pkg);
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

/// Looks for banned words in the sources of core crates; their tests may do as they like.
pub fn sources(files: &[SourceFile]) -> Vec<Problem> {
    let is_source = |f: &&SourceFile| {
        f.is("rs") && f.path.starts_with("core/") && f.path.contains("/src/") && f.name() != "tests.rs"
    };
    files.iter().filter(is_source).flat_map(words_of).collect()
}

fn words_of(file: &SourceFile) -> Vec<Problem> {
    let code = file.lines().take_while(|(_, line)| line.trim() != "#[cfg(test)]");
    let mut problems = Vec::new();
    for (number, line) in code {
        let code = line.split_once("//").map_or(line, |(code, _)| code);
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
    fn patterns_of_packages() {
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
    fn words_count_in_code_only_and_in_core_only() {
        let text = "//! No async fn here.\nfn f() { let _ = std::time::Instant::now(); }\n#[cfg(test)]\nmod tests { use std::fs; }\n";
        let found = sources(&[
            file("core/x/src/lib.rs", text),
            file("core/x/src/tests.rs", text),
            file("core/x/tests/law.rs", text),
            file("shell/x/src/lib.rs", text),
        ]);
        assert_eq!(
            found,
            [Problem::at("core/x/src/lib.rs:2", "`Instant::now` in core: the time is handed in")]
        );
    }
}
