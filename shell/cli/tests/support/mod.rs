//! Running the built program.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs a program with these words and the server of a data directory, and nothing else in its environment.
pub fn run(program: &Path, data_dir: &Path, words: &str) -> Outcome {
    run_with(program, data_dir, words, "20s")
}

/// The same, for commands that are to give up earlier when no server answers.
pub fn run_with(program: &Path, data_dir: &Path, words: &str, timeout: &str) -> Outcome {
    let output = Command::new(program)
        .args(words.split_whitespace())
        .env_clear()
        .env("HEADSAIL_DATA_DIR", data_dir)
        .env("HEADSCALE_CLI_TIMEOUT", timeout)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Outcome::from(output)
}

/// What a run came to.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    /// Exit status.
    pub code: Option<i32>,
    /// Printed.
    pub stdout: String,
    /// Complained.
    pub stderr: String,
}

impl From<Output> for Outcome {
    fn from(o: Output) -> Outcome {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Outcome { code: o.status.code(), stdout: text(o.stdout), stderr: text(o.stderr) }
    }
}

impl Outcome {
    /// What it printed; it must have succeeded and warned of nothing.
    pub fn ok(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        self.stdout
    }

    /// What it complained of; it must have failed.
    pub fn failed(self) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (Some(1), ""), "{self:?}");
        self.stderr
    }
}
