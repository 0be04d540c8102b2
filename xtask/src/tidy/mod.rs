//! `cargo xtask tidy`: the rules of this repository that neither the compiler nor clippy checks.
//!
//! Each rule is a pure function from its input to a list of problems. This file collects the input and prints the problems.

mod arrows;
mod dependencies;
mod docs;
mod licences;
mod purity;
mod road;
mod sizes;
mod test_code;
mod words;

use crate::process::capture;
use std::fmt;
use std::path::Path;
use std::process::Command;

/// A violation of a rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, with a line number if there is one, or the package.
    pub place: String,
    /// What is wrong and how to fix it.
    pub what: String,
}

impl Problem {
    fn at(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }

    fn in_line(file: &SourceFile, line: usize, what: impl Into<String>) -> Self {
        Self::at(format!("{}:{line}", file.path), what)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// A text file in the repository.
pub struct SourceFile {
    /// Path relative to the root of the repository, with `/`.
    pub path: String,
    pub text: String,
}

impl SourceFile {
    fn is(&self, extension: &str) -> bool {
        self.path.rsplit_once('.').is_some_and(|(_, e)| e == extension)
    }

    fn name(&self) -> &str {
        self.path.rsplit_once('/').map_or(self.path.as_str(), |(_, name)| name)
    }

    /// The lines with their numbers, starting at 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(i, line)| (i + 1, line))
    }
}

/// Applies every rule and prints one line for each problem.
pub fn tidy(root: &Path) -> Result<(), String> {
    let files = text_files(root)?;
    let metadata = crate::metadata::load(root)?;
    let mut problems = arrows::check(&metadata);
    problems.extend(dependencies::check(root, &metadata, &files));
    problems.extend(purity::dependencies(&metadata));
    problems.extend(purity::sources(&files));
    problems.extend(licences::check(&metadata));
    problems.extend(sizes::check(&files));
    problems.extend(words::check(&files));
    problems.extend(road::check(&files));
    problems.extend(docs::check(root, &files));
    for problem in &problems {
        eprintln!("{problem}");
    }
    match problems.len() {
        0 => {
            println!("tidy: no problems in {} files and {} packages", files.len(), metadata.packages.len());
            Ok(())
        }
        n => Err(format!("{n} problem{}", if n == 1 { "" } else { "s" })),
    }
}

/// Every file that git tracks or would add, except those that are not UTF-8.
fn text_files(root: &Path) -> Result<Vec<SourceFile>, String> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listed = capture(&mut git)?;
    let mut files = Vec::new();
    for path in listed.split('\0').filter(|p| !p.is_empty()) {
        // A file whose deletion is not committed yet is still listed.
        let Ok(bytes) = std::fs::read(root.join(path)) else { continue };
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(SourceFile { path: path.to_string(), text });
        }
    }
    Ok(files)
}

#[cfg(test)]
fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.to_string(), text: text.to_string() }
}
