//! Links in documents lead to existing files, and every invariant names tests that exist.

use super::{Problem, SourceFile};
use std::path::Path;

const MAP: &str = "ARCHITECTURE.md";

/// Checks the links of every Markdown file, and the table of invariants in [`MAP`].
pub fn check(root: &Path, files: &[SourceFile]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files.iter().filter(|f| f.is("md")) {
        problems.extend(broken_links(file, |target| root.join(target).exists()));
    }
    if let Some(map) = files.iter().find(|f| f.path == MAP) {
        problems.extend(invariants(map, |test| files.iter().any(|f| defines(f, test))));
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

/// Checks rows such as `| I3 | nothing is published … | `commit_then_publish` |`, whose last cell names tests in backticks.
fn invariants(map: &SourceFile, is_test: impl Fn(&str) -> bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (number, line) in map.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, .., tests] = cells.as_slice() else { continue };
        if name.strip_prefix('I').is_none_or(|n| n.parse::<u8>().is_err()) {
            continue;
        }
        let named: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if named.is_empty() {
            problems.push(Problem::in_line(map, number, format!("invariant {name} names no test")));
        }
        for test in named.iter().filter(|test| !is_test(test)) {
            problems.push(Problem::in_line(
                map,
                number,
                format!("invariant {name} names `{test}`, but there is no such test"),
            ));
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
    fn invariants_name_tests_that_exist() {
        let map = file(
            MAP,
            "| I1 | told = ought | `told_is_ought` |\n| I2 | first frame | `gone` |\n| I3 | none |  |\n| In | other | x |",
        );
        let found: Vec<String> =
            invariants(&map, |t| t == "told_is_ought").iter().map(|p| p.place.clone()).collect();
        assert_eq!(found, ["ARCHITECTURE.md:2", "ARCHITECTURE.md:3"]);
    }

    #[test]
    fn functions_are_found_in_rust_and_go() {
        assert!(defines(&file("x.rs", "#[test]\nfn told() {}"), "told"));
        assert!(defines(&file("x.rs", "invariant!(told, Check::Told);"), "told"));
        assert!(defines(&file("x_test.go", "func TestTold(t *testing.T) {"), "TestTold"));
        assert!(!defines(&file("x.md", "fn told()"), "told"));
    }
}
