//! `cargo xtask interop`: runs the official clients, built from their published modules, against a release build.

use crate::process::{announce, cannot_start};
use crate::product::release_binary;
use serde::Deserialize;
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// Packages run one at a time, because several of them measure times, and never from the test cache.
const GO_TEST: [&str; 6] = ["test", "-json", "-count=1", "-p=1", "-timeout=30m", "./..."];

/// How many of the last lines of a test's output are kept. They say why it failed.
const KEPT_LINES: usize = 120;

/// Runs the tests. `--all` includes the slow ones (client versions between the oldest and the newest); all other arguments go to
/// `go test`.
///
/// The output of tests that pass is left out, because clients print a lot and failures would be hard to find.
pub fn interop(root: &Path, args: &[String]) -> Result<(), String> {
    let binary = release_binary(root)?;
    let mut command = Command::new("go");
    command.current_dir(root.join("lab").join("interop")).args(GO_TEST).env("HEADSAIL_BIN", binary);
    for arg in args {
        if arg == "--all" {
            command.env("HEADSAIL_INTEROP_ALL", "1");
        } else {
            command.arg(arg);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    announce(&command);
    let mut child = command.spawn().map_err(|e| cannot_start(&command, &e))?;
    let mut results = Results::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            let line = line.map_err(|e| format!("could not read the output of `go test`: {e}"))?;
            if let Some(text) = results.process(&String::from_utf8_lossy(&line)) {
                println!("{text}");
            }
        }
    }
    let status = child.wait().map_err(|e| format!("could not wait for `go test`: {e}"))?;
    println!("official clients: {} tests passed, {} failed", results.passed, results.failed.len());
    if status.success() {
        return Ok(());
    }
    for name in &results.failed {
        println!("failed: {name}");
    }
    Err(format!("`go test` failed with {status}"))
}

/// One line of `go test -json`, as `go doc test2json` describes it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    action: String,
    #[serde(default)]
    package: String,
    #[serde(default)]
    test: String,
    #[serde(default)]
    output: String,
    #[serde(default)]
    elapsed: f64,
}

/// The results so far.
#[derive(Default)]
struct Results {
    passed: u64,
    failed: Vec<String>,
    /// Output by package and test, for those that have not ended yet. An empty test name stands for the package itself.
    open: BTreeMap<(String, String), VecDeque<String>>,
}

impl Results {
    /// Processes one line and returns what to print, if anything.
    fn process(&mut self, line: &str) -> Option<String> {
        let Ok(event) = serde_json::from_str::<Event>(line) else {
            return (!line.trim().is_empty()).then(|| line.to_owned());
        };
        let Event { action, package, test, output, elapsed } = event;
        let place = if test.is_empty() { package.clone() } else { format!("{package} {test}") };
        match (action.as_str(), test.is_empty()) {
            ("build-output", _) => Some(output.trim_end().to_owned()),
            ("output", _) => {
                let kept = self.open.entry((package, test)).or_default();
                if kept.len() == KEPT_LINES {
                    kept.pop_front();
                }
                kept.push_back(output);
                None
            }
            ("pass", whole) => {
                self.open.remove(&(package, test));
                self.passed += u64::from(!whole);
                whole.then(|| format!("pass {place} ({elapsed:.1} s)"))
            }
            ("skip", _) => {
                let printed = self.open.remove(&(package, test)).unwrap_or_default();
                let why = printed.iter().find(|line| line.starts_with("    ")).map_or("", |line| line.trim());
                Some(format!("skip {place}: {why}"))
            }
            ("fail", _) => {
                let printed: String =
                    self.open.remove(&(package, test)).unwrap_or_default().into_iter().collect();
                self.failed.push(place.clone());
                Some(format!("FAIL {place} ({elapsed:.1} s)\n{printed}"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Results;

    #[test]
    fn only_failed_and_skipped_tests_are_shown() {
        let mut results = Results::default();
        let mut shown = String::new();
        for line in [
            r#"{"Action":"output","Package":"p","Test":"A","Output":"chatter\n"}"#,
            r#"{"Action":"output","Package":"p","Test":"B","Output":"b.go:1: wrong\n"}"#,
            r#"{"Action":"output","Package":"p","Test":"C","Output":"    c.go:2: not here\n"}"#,
            r#"{"Action":"pass","Package":"p","Test":"A","Elapsed":1}"#,
            r#"{"Action":"fail","Package":"p","Test":"B","Elapsed":0.25}"#,
            r#"{"Action":"skip","Package":"p","Test":"C","Elapsed":0}"#,
            r#"{"Action":"fail","Package":"p","Elapsed":2}"#,
            "go: downloading",
        ] {
            shown.extend(results.process(line).map(|text| text + "\n"));
        }
        assert_eq!(
            shown,
            "FAIL p B (0.2 s)\nb.go:1: wrong\n\nskip p C: c.go:2: not here\nFAIL p (2.0 s)\n\ngo: downloading\n"
        );
        assert_eq!((results.passed, results.failed), (1, vec!["p B".to_owned(), "p".to_owned()]));
    }
}
