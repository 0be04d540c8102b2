//! Text that must not be committed: absolute paths of one machine, hosts of package registries, marks of unfinished work.

use super::{Problem, SourceFile};

/// Prefixes of absolute paths that exist on one machine only. They are concatenated so that this file passes its own check.
const PLACES: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/runner")];

/// Registries are configured in each tool. Only lock files name them.
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
const UNFINISHED: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];

/// Checks every text file except lock files.
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
            problems.push(Problem::in_line(file, number, format!("`{place}…` is a path on one machine")));
        }
        if let Some(host) = REGISTRIES.iter().find(|host| line.contains(*host)) {
            problems.push(Problem::in_line(
                file,
                number,
                format!("`{host}` is the host of a registry, which belongs in the tool's own configuration"),
            ));
        }
        if let Some(word) = UNFINISHED.iter().find(|word| stands_alone(line, word)) {
            problems.push(Problem::in_line(
                file,
                number,
                format!("`{word}`: finish the work or file an issue"),
            ));
        }
    }
    problems
}

/// Whether the line contains the absolute path itself, not the middle of a longer path such as `net/work/`.
fn begins_path(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line.get(..at).and_then(|start| start.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || "_-.~}/".contains(c))
    })
}

/// Whether the word occurs without letters or digits next to it.
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
    fn absolute_paths_of_one_machine_are_found() {
        assert_eq!(count(concat!("see /wo", "rk/notes")), 1);
        assert_eq!(count(concat!("open(\"/ro", "ot/.cache\")")), 1);
        assert_eq!(count(concat!("the net/wo", "rk/ folder, ${HERE}/wo", "rk/x")), 0);
        assert_eq!(count("/var/lib/headsail/db.sqlite"), 0);
    }

    #[test]
    fn registry_hosts_are_found_outside_lock_files() {
        let text = concat!("registry+https://index.", "crates.io/x");
        assert_eq!(count(text), 1);
        assert_eq!(check(&[file("Cargo.lock", text), file("lab/interop/go.sum", text)]), []);
    }

    #[test]
    fn unfinished_work_is_found() {
        assert_eq!(count(concat!("// TO", "DO: later")), 1);
        assert_eq!(count(concat!("MAS", "TO", "DON")), 0);
    }
}
