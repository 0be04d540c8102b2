//! Links in documents lead to existing files, and tables of tests name tests that exist.

use super::{Problem, SourceFile};
use std::path::Path;

/// Checks the links and the tables of tests in every Markdown file.
pub fn check(root: &Path, files: &[SourceFile]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files.iter().filter(|f| f.is("md")) {
        problems.extend(broken_links(file, |target| root.join(target).exists()));
        problems.extend(missing_tests(file, |test| files.iter().any(|f| defines(f, test))));
    }
    problems
}

/// Relative links `[text](target)` whose target does not exist. Targets are relative to the file's folder.
fn broken_links(file: &SourceFile, exists: impl Fn(&Path) -> bool) -> Vec<Problem> {
    let folder = Path::new(&file.path).parent().unwrap_or(Path::new(""));
    let mut problems = Vec::new();
    for (number, line) in file.lines() {
        for part in line.split("](").skip(1) {
            let Some((target, _)) = part.split_once(')') else { continue };
            let path = target.split_once('#').map_or(target, |(path, _)| path);
            let elsewhere = path.is_empty() || path.contains(':') || path.contains(' ');
            if !elsewhere && !exists(&folder.join(path)) {
                problems.push(Problem::in_line(
                    file,
                    number,
                    format!("the link to `{target}` is broken: there is no such file"),
                ));
            }
        }
    }
    problems
}

/// Checks tables whose last column is `Tests` or `Test`, such as the invariants in `ARCHITECTURE.md`
/// (`| I3 | nothing is published … | `commit_then_publish` |`) and the defences in `docs/security.md`. Names in backticks are
/// tests, or files with tests. Every invariant needs a test.
fn missing_tests(page: &SourceFile, is_test: impl Fn(&str) -> bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut lists_tests = false;
    for (number, line) in page.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, .., tests] = cells.as_slice() else {
            lists_tests = false;
            continue;
        };
        lists_tests |= matches!(*tests, "Test" | "Tests");
        if !lists_tests {
            continue;
        }
        let named: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        let is_invariant = name.strip_prefix('I').is_some_and(|n| n.parse::<u8>().is_ok());
        if is_invariant && named.is_empty() {
            problems.push(Problem::in_line(page, number, format!("invariant {name} names no test")));
        }
        for test in named.iter().filter(|test| !test.contains(['/', '.']) && !is_test(test)) {
            problems.push(Problem::in_line(page, number, format!("there is no test `{test}`")));
        }
    }
    problems
}

/// Whether a Rust or Go file defines a function of this name, or an `invariant!(name, …)` of the simulation.
fn defines(file: &SourceFile, function: &str) -> bool {
    let marks = [format!("fn {function}("), format!("func {function}("), format!("invariant!({function},")];
    (file.is("rs") || file.is("go")) && marks.iter().any(|mark| file.text.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::file;

    #[test]
    fn links_are_resolved_relative_to_their_file() {
        let page = file(
            "docs/a.md",
            "[b](b.md#top) [up](../README.md) [web](https://example.com) [here](#x)\n[gone](c.md)",
        );
        let found = broken_links(&page, |path| path != Path::new("docs/c.md"));
        assert_eq!(
            found,
            [Problem::at("docs/a.md:2", "the link to `c.md` is broken: there is no such file")]
        );
    }

    #[test]
    fn tables_of_tests_name_tests_that_exist() {
        let page = file(
            "docs/a.md",
            "| | Always | Tests |\n|---|---|---|\n| I1 | told = ought | `told_is_ought` |\n| I2 | first frame | `gone` |\n\
             | I3 | none |  |\n| to guess | see | `a/tests/b.rs`, the compiler |\n\n| Position | `gap` |",
        );
        let found: Vec<String> =
            missing_tests(&page, |t| t == "told_is_ought").iter().map(|p| p.place.clone()).collect();
        assert_eq!(found, ["docs/a.md:4", "docs/a.md:5"]);
    }

    #[test]
    fn functions_are_found_in_rust_and_go() {
        assert!(defines(&file("x.rs", "#[test]\nfn told() {}"), "told"));
        assert!(defines(&file("x.rs", "invariant!(told, Check::Told);"), "told"));
        assert!(defines(&file("x_test.go", "func TestTold(t *testing.T) {"), "TestTold"));
        assert!(!defines(&file("x.md", "fn told()"), "told"));
    }
}
