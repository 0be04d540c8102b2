//! Source files are short, or say why they are not.

use super::{Problem, SourceFile};

/// The limit for source files that state no reason.
const MAX_LINES: usize = 600;

/// Introduces the reason of a longer file, in a comment among its first lines: `// Long: it is one table.`
const REASON: &str = "Long: ";

/// The reason must be within this many lines.
const HEAD: usize = 10;

/// Checks Rust and Go files.
pub fn check(files: &[SourceFile]) -> Vec<Problem> {
    files.iter().filter(|f| f.is("rs") || f.is("go")).filter_map(too_long).collect()
}

fn too_long(file: &SourceFile) -> Option<Problem> {
    let lines = file.text.lines().count();
    let excused = file.text.lines().take(HEAD).any(|line| line.starts_with("//") && line.contains(REASON));
    let what = || {
        format!(
            "has {lines} lines, but the limit is {MAX_LINES}: split it, or give the reason at the top as `// {REASON}…`"
        )
    };
    (lines > MAX_LINES && !excused).then(|| Problem::at(&file.path, what()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::file;

    #[test]
    fn long_files_need_a_reason() {
        let long = "x\n".repeat(MAX_LINES + 1);
        assert_eq!(check(&[file("a.rs", &long)]).len(), 1);
        assert_eq!(check(&[file("a.go", &long)]).len(), 1);
        assert_eq!(check(&[file("a.json", &long)]), []);
        assert_eq!(check(&[file("a.rs", &"x\n".repeat(MAX_LINES))]), []);
        assert_eq!(check(&[file("a.rs", &format!("//! Long: it is one table.\n{long}"))]), []);
    }
}
