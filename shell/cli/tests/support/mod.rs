//! Runs the built program.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(dead_code, reason = "not every test needs it")]
pub mod preloaded;

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs a program with these arguments against the server of a data directory, with an otherwise empty environment.
pub fn run(program: &Path, data_dir: &Path, words: &str) -> Outcome {
    run_with(program, data_dir, words, "20s")
}

/// Like [`run`], with a timeout of its own for commands that find no server.
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

#[derive(Debug, PartialEq)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Outcome {
    fn from(o: Output) -> Outcome {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Outcome { code: o.status.code(), stdout: text(o.stdout), stderr: text(o.stderr) }
    }
}

impl Outcome {
    /// Its stdout; it must have succeeded with an empty stderr.
    pub fn ok(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        self.stdout
    }

    /// Its stderr; it must have failed with an empty stdout.
    pub fn failed(self) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (Some(1), ""), "{self:?}");
        self.stderr
    }
}
