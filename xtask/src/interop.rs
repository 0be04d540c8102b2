//! `cargo xtask interop`: the official clients, built from their published modules, against a release build.

use crate::process::{release_binary, run};
use std::path::Path;
use std::process::Command;

/// How `go test` is called: one package at a time, because several of them measure times, and never an answer from its cache.
const GO_TEST: [&str; 5] = ["test", "-count=1", "-p=1", "-timeout=30m", "./..."];

/// `--all` takes in the slow programme (client versions between the oldest and the newest); everything else goes to `go test`.
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
    run(&mut command)
}
