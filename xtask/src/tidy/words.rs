//! Words that have no business in the repository: paths of somebody's machine, hosts of package registries, loose ends.

use super::{Problem, SourceFile};

/// Beginnings of absolute paths that exist on one machine only. They are put together here so that this file passes its own rule.
const PLACES: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/runner")];

/// Registries are a matter of each tool's own set-up; only lock files name them.
const REGISTRIES: &[&str] = &[
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("proxy.", "golang.org"),
    concat!("sum.", "golang.org"),
    concat!("registry.", "npmjs.org"),
    concat!("files.", "pythonhosted.org"),
    concat!("deb.", "debian.org"),
];

/// Marks of unfinished work.
const LOOSE_ENDS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];

/// Looks at every text file but lock files.
pub fn check(files: &[SourceFile]) -> Vec<Problem> {
    files.iter().filter(|f| !is_lock_file(f)).flat_map(words_of).collect()
}

fn is_lock_file(file: &SourceFile) -> bool {
    file.is("lock") || file.is("sum") || file.name() == "package-lock.json"
}

fn words_of(file: &SourceFile) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (number, line) in file.lines() {
        if let Some(place) = PLACES.iter().find(|p| begins_path(line, p)) {
            problems.push(Problem::in_line(file, number, format!("`{place}…` is a path of one machine")));
        }
        if let Some(host) = REGISTRIES.iter().find(|host| line.contains(*host)) {
            problems.push(Problem::in_line(
                file,
                number,
                format!("`{host}` is a registry's host; leave it to the tool's set-up"),
            ));
        }
        if let Some(word) = LOOSE_ENDS.iter().find(|word| stands_alone(line, word)) {
            problems.push(Problem::in_line(file, number, format!("`{word}`: finish it or file an issue")));
        }
    }
    problems
}

/// Whether the line holds the absolute path itself, not the middle of a longer path such as `net/work/`.
fn begins_path(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line.get(..at).and_then(|start| start.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || "_-.~}/".contains(c))
    })
}

/// Whether the word occurs without letters or digits around it.
fn stands_alone(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|start| start.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|rest| rest.chars().next());
        ![before, after].into_iter().flatten().any(char::is_alphanumeric)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::file;

    fn count(text: &str) -> usize {
        check(&[file("docs/page.md", text)]).len()
    }

    #[test]
    fn paths_of_a_machine() {
        assert_eq!(count(concat!("see /wo", "rk/notes")), 1);
        assert_eq!(count(concat!("open(\"/ro", "ot/.cache\")")), 1);
        assert_eq!(count(concat!("the net/wo", "rk/ folder, ${HERE}/wo", "rk/x")), 0);
        assert_eq!(count("/var/lib/headsail/db.sqlite"), 0);
    }

    #[test]
    fn registries_outside_lock_files() {
        let text = concat!("registry+https://index.", "crates.io/x");
        assert_eq!(count(text), 1);
        assert_eq!(check(&[file("Cargo.lock", text), file("lab/interop/go.sum", text)]), []);
    }

    #[test]
    fn loose_ends() {
        assert_eq!(count(concat!("// TO", "DO: later")), 1);
        assert_eq!(count(concat!("MAS", "TO", "DON")), 0);
    }
}
