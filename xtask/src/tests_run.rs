//! `cargo xtask test`: every test of the workspace, with a final line that sums up all test binaries.

use crate::process::{announce, cannot_start, cargo};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// Runs `cargo test` on the whole workspace in the dev profile, whose dependencies are optimised (see `Cargo.toml`). The output
/// is shown as it arrives, and a failing test binary does not stop the others from running.
pub fn test(root: &Path, args: &[String]) -> Result<(), String> {
    let args = args.strip_prefix(&["--".to_string()]).unwrap_or(args);
    let mut command = cargo(root, &["test", "--workspace", "--no-fail-fast"]);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped());
    announce(&command);
    let mut child = command.spawn().map_err(|e| cannot_start(&command, &e))?;
    let mut tally = Tally::default();
    if let Some(output) = child.stdout.take() {
        let mut shown = std::io::stdout().lock();
        for line in BufReader::new(output).split(b'\n') {
            let line = line.map_err(|e| format!("could not read the output of `cargo test`: {e}"))?;
            tally.count(&String::from_utf8_lossy(&line));
            // A closed output pipe (`| head`) must not hide the result of the tests.
            let _ = shown.write_all(&line).and_then(|()| shown.write_all(b"\n"));
        }
    }
    let status = child.wait().map_err(|e| format!("could not wait for `cargo test`: {e}"))?;
    println!("tests: {} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.ignored);
    if status.success() { Ok(()) } else { Err(format!("`cargo test` failed with {status}")) }
}

impl Tally {
    /// Counts one line of output. Only the summary of a test binary matters, such as
    /// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s`.
    fn count(&mut self, line: &str) {
        let Some(facts) = line.strip_prefix("test result: ") else { return };
        let facts = facts.split_once(". ").map_or(facts, |(_, rest)| rest);
        for fact in facts.split(';') {
            let Some((number, word)) = fact.trim().split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn summaries_are_added_up_and_other_lines_are_ignored() {
        let mut tally = Tally::default();
        for line in [
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test relay::drops ... ok",
            "result: 9 passed; 9 failed",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.20s",
        ] {
            tally.count(line);
        }
        assert_eq!(tally, Tally { passed: 4, failed: 2, ignored: 1 });
    }
}
