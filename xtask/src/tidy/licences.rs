//! All dependencies have permissive licences, so that anyone may use and redistribute the binary.

use super::Problem;
use crate::metadata::Metadata;

/// SPDX identifiers that we accept. A licence `WITH` an exception is listed as a whole.
const PERMISSIVE: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Checks every package, including those for other platforms and for tests.
pub fn check(metadata: &Metadata) -> Vec<Problem> {
    let mut problems = Vec::new();
    for package in &metadata.packages {
        let verdict = match &package.license {
            None => Err("names no licence: read its licence file".to_string()),
            Some(expression) => match acceptable(expression) {
                Some(true) => Ok(()),
                Some(false) => Err(format!("is licensed under `{expression}`, which is not permissive")),
                None => Err(format!("has a licence that is not an SPDX expression: `{expression}`")),
            },
        };
        if let Err(what) = verdict {
            problems.push(Problem::at(format!("{} {}", package.name, package.version), what));
        }
    }
    problems
}

/// Whether an SPDX expression allows a permissive choice, or `None` if it is invalid. The old `/` means `OR`.
fn acceptable(expression: &str) -> Option<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let answer = any(&mut rest)?;
    rest.is_empty().then_some(answer)
}

/// `all OR all …`
fn any(words: &mut &[&str]) -> Option<bool> {
    let mut answer = all(words)?;
    while take(words, "OR") {
        answer |= all(words)?;
    }
    Some(answer)
}

/// `one AND one …`, which binds tighter than `OR`.
fn all(words: &mut &[&str]) -> Option<bool> {
    let mut answer = one(words)?;
    while take(words, "AND") {
        answer &= one(words)?;
    }
    Some(answer)
}

/// A licence, a licence with an exception, or an expression in parentheses.
fn one(words: &mut &[&str]) -> Option<bool> {
    if take(words, "(") {
        let answer = any(words)?;
        return take(words, ")").then_some(answer);
    }
    let licence = next(words).filter(|word| !matches!(*word, ")" | "AND" | "OR" | "WITH"))?;
    if take(words, "WITH") {
        let exception = next(words)?;
        return Some(PERMISSIVE.contains(&format!("{licence} WITH {exception}").as_str()));
    }
    Some(PERMISSIVE.contains(&licence))
}

fn next<'a>(words: &mut &[&'a str]) -> Option<&'a str> {
    let (first, rest) = words.split_first()?;
    *words = rest;
    Some(first)
}

fn take(words: &mut &[&str], word: &str) -> bool {
    let found = words.first() == Some(&word);
    if found {
        next(words);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::acceptable;

    #[test]
    fn expressions_with_a_permissive_choice_are_accepted() {
        for expression in [
            "MIT",
            "MIT/Apache-2.0",
            "Apache-2.0 / MIT",
            "MIT OR Apache-2.0 OR LGPL-2.1-or-later",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "ISC AND (Apache-2.0 OR ISC) AND BSD-3-Clause",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
            "GPL-3.0-only OR MIT AND ISC",
        ] {
            assert_eq!(acceptable(expression), Some(true), "{expression}");
        }
    }

    #[test]
    fn expressions_without_a_permissive_choice_are_refused() {
        for expression in [
            "MPL-2.0",
            "GPL-3.0-only",
            "MIT AND MPL-2.0",
            "(MIT AND LGPL-3.0-only) OR AGPL-3.0-only",
            "GPL-2.0-only WITH Classpath-exception-2.0",
        ] {
            assert_eq!(acceptable(expression), Some(false), "{expression}");
        }
    }

    #[test]
    fn invalid_expressions_are_not_accepted() {
        for expression in ["", "MIT OR", "(MIT", "MIT)", "MIT Apache-2.0", "AND MIT", "Apache-2.0 WITH"] {
            assert_eq!(acceptable(expression), None, "{expression}");
        }
    }
}
