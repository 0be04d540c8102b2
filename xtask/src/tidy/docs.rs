//! Documents that cannot rot: links lead somewhere, and every invariant names tests that exist.

use super::{Problem, SourceFile};
use std::path::Path;

const MAP: &str = "ARCHITECTURE.md";

/// Looks at every Markdown file, and at the table of invariants in [`MAP`].
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

/// Relative links `[text](target)` whose target is not there. The target is resolved from the file's own folder.
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
                    format!("the link to `{target}` leads nowhere"),
                ));
            }
        }
    }
    problems
}

/// Rows such as `| I3 | nothing is published … | `commit_then_publish` |`: the last cell names tests in backticks.
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
                format!("invariant {name} names `{test}`, which is no test here"),
            ));
        }
    }
    problems
}

/// Whether a Rust or Go file defines a function of this name, `invariant!(name, …)` of the simulation among them.
fn defines(file: &SourceFile, function: &str) -> bool {
    let marks = [format!("fn {function}("), format!("func {function}("), format!("invariant!({function},")];
    (file.is("rs") || file.is("go")) && marks.iter().any(|mark| file.text.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::file;

    #[test]
    fn links_are_resolved_from_their_own_folder() {
        let page = file(
            "docs/a.md",
            "[b](b.md#top) [up](../README.md) [web](https://example.com) [here](#x)\n[gone](c.md)",
        );
        let found = broken_links(&page, |path| path != Path::new("docs/c.md"));
        assert_eq!(found, [Problem::at("docs/a.md:2", "the link to `c.md` leads nowhere")]);
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
