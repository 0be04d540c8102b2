//! Which lines of a crate are compiled only for its tests, as far as the text shows it.

use super::SourceFile;
use std::collections::BTreeSet;

/// Paths of the files under `src/` that belong to a module declared as `#[cfg(test)] mod name;`, of any crate.
pub fn test_files(files: &[SourceFile]) -> BTreeSet<&str> {
    let modules: Vec<String> = files.iter().filter(|f| f.is("rs")).flat_map(test_modules).collect();
    let in_module = |path: &str, module: &String| {
        path.strip_prefix(module.as_str()).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    };
    files.iter().map(|f| f.path.as_str()).filter(|path| modules.iter().any(|m| in_module(path, m))).collect()
}

/// The lines outside of items marked `#[cfg(test)]`, without their `//` comments, with their numbers from 1.
///
/// The end of an item is found by its indentation, which rustfmt guarantees.
pub fn production_lines(file: &SourceFile) -> impl Iterator<Item = (usize, &str)> {
    let mut skipping: Option<usize> = None;
    file.lines().filter_map(move |(number, line)| {
        let code = without_comment(line);
        if let Some(indent) = skipping {
            if indentation(code) == indent && code.trim_end().ends_with([';', '}']) {
                skipping = None;
            }
            return None;
        }
        if code.trim() == "#[cfg(test)]" {
            skipping = Some(indentation(code));
            return None;
        }
        Some((number, code))
    })
}

/// The part of a line before a `//` comment.
pub fn without_comment(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

/// The modules that a file declares for its tests alone, as paths without `.rs`.
fn test_modules(file: &SourceFile) -> Vec<String> {
    let path = file.path.trim_end_matches(".rs");
    let folder = match path.rsplit_once('/') {
        Some((folder, "mod" | "lib" | "main")) => folder,
        _ => path,
    };
    let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
    let declared = lines.windows(2).filter_map(|pair| match pair {
        ["#[cfg(test)]", item] => {
            item.strip_suffix(';')?.split_once("mod ").map(|(_, name)| format!("{folder}/{name}"))
        }
        _ => None,
    });
    declared.collect()
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::file;

    #[test]
    fn files_of_test_modules_are_found_from_their_declaration() {
        let files = [
            file("a/src/lib.rs", "#[cfg(test)]\npub(crate) mod testing;\nmod used;\n"),
            file("a/src/used.rs", "#[cfg(test)]\nmod tests;\n"),
            file("a/src/testing.rs", ""),
            file("a/src/used/tests/mod.rs", ""),
            file("a/src/tests.rs", ""),
        ];
        assert_eq!(test_files(&files), BTreeSet::from(["a/src/testing.rs", "a/src/used/tests/mod.rs"]));
    }

    #[test]
    fn code_after_a_test_item_is_production_code_again() {
        let text = "use a::A; // b::B\n#[cfg(test)]\nmod tests;\nfn f() {}\nimpl A {\n    #[cfg(test)]\n    fn t() {\n        c();\n    }\n    fn g() {}\n}\n";
        let source = file("x.rs", text);
        let numbers: Vec<usize> = production_lines(&source).map(|(number, _)| number).collect();
        assert_eq!(numbers, [1, 4, 5, 10, 11]);
        assert_eq!(production_lines(&source).next(), Some((1, "use a::A; ")));
    }
}
