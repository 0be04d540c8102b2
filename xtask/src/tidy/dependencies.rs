//! Every dependency of a crate is used by its sources, and `[dependencies]` holds only what is used outside of tests.
//!
//! The check reads text: a dependency counts as used where a path or `use` begins with its name. One that is needed without
//! being named, for its features alone for example, says so in `Cargo.toml`, in a comment on its line: `# Kept: reason`.

use super::test_code::{production_lines, test_files, without_comment};
use super::{Problem, SourceFile};
use crate::metadata::{Dependency, Metadata};
use std::collections::BTreeSet;
use std::path::Path;

/// Marks an entry of `Cargo.toml` that no source names.
const EXCEPTION: &str = "# Kept: ";

/// Checks every crate of the workspace, and the entries of `[workspace.dependencies]`.
pub fn check(root: &Path, metadata: &Metadata, files: &[SourceFile]) -> Vec<Problem> {
    let tests = test_files(files);
    let mut problems = Vec::new();
    for package in metadata.ours() {
        let folder = package.manifest_path.parent().and_then(|folder| folder.strip_prefix(root).ok());
        let Some(folder) = folder.and_then(Path::to_str) else { continue };
        problems.extend(unused(folder, &package.dependencies, files, &tests));
    }
    let asked_for: BTreeSet<&str> =
        metadata.ours().flat_map(|p| &p.dependencies).map(Dependency::key).collect();
    if let Some(manifest) = files.iter().find(|f| f.path == "Cargo.toml") {
        problems.extend(unused_in_workspace(manifest, &asked_for));
    }
    problems
}

/// The dependencies of the crate in `folder` that are not used, or are used by its tests alone.
fn unused(
    folder: &str,
    dependencies: &[Dependency],
    files: &[SourceFile],
    tests: &BTreeSet<&str>,
) -> Vec<Problem> {
    let manifest = format!("{folder}/Cargo.toml");
    let entries = files.iter().find(|f| f.path == manifest).map_or("", |f| f.text.as_str());
    let in_crate = |path: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    let sources: Vec<&SourceFile> = files.iter().filter(|f| f.is("rs") && in_crate(&f.path)).collect();
    let (build_script, production_folder) = (format!("{folder}/build.rs"), format!("{folder}/src/"));
    let in_product =
        |f: &SourceFile| f.path.starts_with(&production_folder) && !tests.contains(f.path.as_str());
    let mut problems = Vec::new();
    for dependency in dependencies.iter().filter(|d| !is_excepted(entries, d.key())) {
        let key = dependency.key();
        let name = key.replace('-', "_");
        let uses = |f: &SourceFile| f.lines().any(|(_, line)| names(without_comment(line), &name));
        let ships = |f: &SourceFile| in_product(f) && production_lines(f).any(|(_, line)| names(line, &name));
        let used = sources.iter().any(|f| uses(f));
        let fine = match dependency.kind.as_deref() {
            Some("build") => sources.iter().any(|f| f.path == build_script && uses(f)),
            Some(_) => used,
            None => sources.iter().any(|f| ships(f)),
        };
        if fine {
            continue;
        }
        let what = if used && dependency.kind.is_none() {
            format!("only tests use `{key}`: move it to [dev-dependencies]")
        } else {
            format!("nothing uses `{key}`: remove it, or give the reason on its line as `{EXCEPTION}…`")
        };
        problems.push(Problem::at(&manifest, what));
    }
    problems
}

/// Whether the entry for a dependency, `key = …` or `key.workspace = true`, carries a reason.
fn is_excepted(manifest: &str, key: &str) -> bool {
    let is_entry = |line: &&str| line.strip_prefix(key).is_some_and(|rest| rest.starts_with([' ', '.', '=']));
    manifest.lines().filter(is_entry).any(|line| line.contains(EXCEPTION))
}

/// Whether a path in this line begins with the crate's name, or the line imports the crate itself.
fn names(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let (before, rest) = line.split_at(at);
        let after = rest.strip_prefix(name).unwrap_or_default();
        let begins = !before.ends_with(|c: char| c.is_alphanumeric() || "_:.".contains(c));
        let imported = before.trim_end().ends_with("use") && after.starts_with([';', ' ']);
        begins && (after.starts_with("::") || imported)
    })
}

/// Entries of `[workspace.dependencies]` that no crate asks for.
fn unused_in_workspace(manifest: &SourceFile, asked_for: &BTreeSet<&str>) -> Vec<Problem> {
    let table = manifest.lines().skip_while(|(_, line)| *line != "[workspace.dependencies]").skip(1);
    let entries = table.take_while(|(_, line)| !line.starts_with('['));
    let mut problems = Vec::new();
    for (number, line) in entries {
        let Some((key, _)) = line.split_once(['=', '.']) else { continue };
        let key = key.trim();
        if !key.starts_with('#') && !asked_for.contains(key) {
            problems.push(Problem::in_line(manifest, number, format!("no crate uses `{key}`: remove it")));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::file;

    fn dependency(name: &str, kind: Option<&str>) -> Dependency {
        Dependency { name: name.to_string(), rename: None, kind: kind.map(str::to_string) }
    }

    fn complaints(dependency: Dependency, sources: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<SourceFile> = sources.iter().map(|(path, text)| file(path, text)).collect();
        let found = unused("core/a", &[dependency], &files, &test_files(&files));
        found
            .into_iter()
            .map(|p| p.what.split_once(':').map_or(String::new(), |(what, _)| what.into()))
            .collect()
    }

    #[test]
    fn a_dependency_that_production_code_uses_passes() {
        for text in [
            "use serde_json::Value;",
            "let v = serde_json::json!({});",
            "use serde_json;",
            "use serde_json as j;",
        ] {
            let sources = [("core/a/src/lib.rs", text)];
            assert_eq!(complaints(dependency("serde-json", None), &sources), [""; 0], "{text}");
        }
    }

    #[test]
    fn a_name_in_a_comment_in_a_longer_path_or_in_another_crate_does_not_count() {
        for (path, text) in [
            ("core/a/src/lib.rs", "// http::Request"),
            ("core/a/src/lib.rs", "crate::http::serve(http, my_http::X)"),
            ("core/ab/src/lib.rs", "use http::Request;"),
            ("core/a/src/lib.md", "use http::Request;"),
        ] {
            assert_eq!(
                complaints(dependency("http", None), &[(path, text)]),
                ["nothing uses `http`"],
                "{text}"
            );
        }
    }

    #[test]
    fn a_dependency_that_only_tests_use_belongs_in_dev_dependencies() {
        let expected = ["only tests use `proptest`"];
        for (path, text) in [
            ("core/a/src/lib.rs", "#[cfg(test)]\nmod tests {\n    use proptest::prelude::*;\n}\n"),
            ("core/a/tests/laws.rs", "use proptest::prelude::*;"),
            ("core/a/examples/e.rs", "use proptest::prelude::*;"),
        ] {
            assert_eq!(complaints(dependency("proptest", None), &[(path, text)]), expected, "{path}");
            assert_eq!(complaints(dependency("proptest", Some("dev")), &[(path, text)]), [""; 0], "{path}");
        }
        let in_files = [
            ("core/a/src/lib.rs", "#[cfg(test)]\nmod testing;\n"),
            ("core/a/src/testing.rs", "use proptest::prelude::*;"),
        ];
        assert_eq!(complaints(dependency("proptest", None), &in_files), expected);
    }

    #[test]
    fn unused_dev_and_build_dependencies_are_found() {
        let source = [("core/a/src/lib.rs", "fn f() {}")];
        assert_eq!(complaints(dependency("proptest", Some("dev")), &source), ["nothing uses `proptest`"]);
        let elsewhere = [("core/a/src/lib.rs", "use cc::Build;")];
        assert_eq!(complaints(dependency("cc", Some("build")), &elsewhere), ["nothing uses `cc`"]);
        let script = [("core/a/build.rs", "use cc::Build;")];
        assert_eq!(complaints(dependency("cc", Some("build")), &script), [""; 0]);
    }

    #[test]
    fn an_unused_dependency_with_a_reason_passes() {
        let kept = [("core/a/Cargo.toml", "[dependencies]\nts_control = \"1\" # Kept: for its features.\n")];
        assert_eq!(complaints(dependency("ts_control", None), &kept), [""; 0]);
        assert_eq!(complaints(dependency("ts", None), &kept), ["nothing uses `ts`"]);
    }

    #[test]
    fn workspace_entries_that_no_crate_asks_for_are_found() {
        let text = "[workspace]\nx = 1\n[workspace.dependencies]\na = \"1\"\n\n# why: b = 1\nb.path = \"b\"\n[profile.dev]\ny = 1\n";
        let found = unused_in_workspace(&file("Cargo.toml", text), &BTreeSet::from(["a"]));
        assert_eq!(found, [Problem::at("Cargo.toml:7", "no crate uses `b`: remove it")]);
    }
}
