//! The road of a request: files on it begin with `//! Road N: …`, and `ARCHITECTURE.md` names all of them.

use super::{Problem, SourceFile};
use std::collections::BTreeMap;

const MAP: &str = "ARCHITECTURE.md";

/// Finds gaps in the numbering and files that `ARCHITECTURE.md` does not name. Several files may share a number.
pub fn check(files: &[SourceFile]) -> Vec<Problem> {
    let mut stations: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    let mut problems = Vec::new();
    for file in files.iter().filter(|f| f.is("rs")) {
        let Some(rest) = file.text.lines().next().and_then(|line| line.strip_prefix("//! Road")) else {
            continue;
        };
        match rest.trim_start().split_once(':').and_then(|(number, _)| number.parse().ok()) {
            Some(number) => stations.entry(number).or_default().push(&file.path),
            None => {
                problems.push(Problem::in_line(file, 1, "a file on the road must begin with `//! Road N: …`"))
            }
        }
    }
    for (expected, (number, paths)) in (1..).zip(&stations) {
        if *number != expected {
            problems.push(Problem::at(
                paths.join(", "),
                format!("is station {number} of the road, but there is no station {expected}"),
            ));
            break;
        }
    }
    let map = files.iter().find(|f| f.path == MAP).map_or("", |f| f.text.as_str());
    for path in stations.into_values().flatten().filter(|path| !map.contains(*path)) {
        problems.push(Problem::at(path, format!("is on the road, but {MAP} does not name it")));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::file;

    #[test]
    fn a_road_without_gaps_that_is_on_the_map_passes() {
        let map = file(MAP, "`s/a.rs` then `s/b.rs` or `s/c.rs`");
        let road = [
            file("s/a.rs", "//! Road 1: in."),
            file("s/b.rs", "//! Road 2: x."),
            file("s/c.rs", "//! Road 2: y."),
            map,
        ];
        assert_eq!(check(&road), []);
    }

    #[test]
    fn gaps_unnumbered_and_unmapped_stations_are_found() {
        let map = file(MAP, "`s/a.rs` and `s/c.rs`");
        assert_eq!(
            check(&[file("s/a.rs", "//! Road 1: in."), file("s/c.rs", "//! Road 3: out."), map]).len(),
            1
        );
        assert_eq!(check(&[file("s/a.rs", "//! Road: in.")]).len(), 1);
        assert_eq!(check(&[file("s/a.rs", "//! Road 1: in.")]).len(), 1);
    }
}
