//! Files stay short enough to be read in one go.

use super::{Problem, SourceFile};

/// The longest source file without a stated reason.
const MOST_LINES: usize = 600;

/// How a longer file states its reason, among its first lines: `// Long: it is one table.`
const REASON: &str = "Long: ";

/// The lines in which the reason is looked for.
const HEAD: usize = 10;

/// Looks at hand-written sources.
pub fn check(files: &[SourceFile]) -> Vec<Problem> {
    files.iter().filter(|f| f.is("rs") || f.is("go")).filter_map(too_long).collect()
}

fn too_long(file: &SourceFile) -> Option<Problem> {
    let lines = file.text.lines().count();
    let excused = file.text.lines().take(HEAD).any(|line| line.starts_with("//") && line.contains(REASON));
    let what = || {
        format!(
            "has {lines} lines; split it (most are {MOST_LINES}) or give the reason at its head as `// {REASON}…`"
        )
    };
    (lines > MOST_LINES && !excused).then(|| Problem::at(&file.path, what()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::file;

    #[test]
    fn long_files_need_a_reason() {
        let long = "x\n".repeat(MOST_LINES + 1);
        assert_eq!(check(&[file("a.rs", &long)]).len(), 1);
        assert_eq!(check(&[file("a.go", &long)]).len(), 1);
        assert_eq!(check(&[file("a.json", &long)]), []);
        assert_eq!(check(&[file("a.rs", &"x\n".repeat(MOST_LINES))]), []);
        assert_eq!(check(&[file("a.rs", &format!("//! Long: it is one table.\n{long}"))]), []);
    }
}
