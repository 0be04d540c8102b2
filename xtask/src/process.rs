//! Runs other programs in the foreground, and reads the environment variables that tasks depend on.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A cargo command in the repository. It does not inherit the variables that `cargo run` set to describe this package.
pub fn cargo(root: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).args(args);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name.as_ref());
        }
    }
    command
}

/// Runs a command that writes to our own output streams. The error contains the command line and the exit status.
pub fn run(command: &mut Command) -> Result<(), String> {
    announce(command);
    let status = command.stdin(Stdio::null()).status().map_err(|e| cannot_start(command, &e))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed with {status}", line(command))) }
}

/// Runs a command and returns its standard output.
pub fn capture(command: &mut Command) -> Result<String, String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| cannot_start(command, &e))?;
    if !output.status.success() {
        return Err(format!("`{}` failed with {}", line(command), output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("the output of `{}` is not UTF-8", line(command)))
}

/// Prints a command to standard error before it runs, so that it can be repeated by hand.
pub fn announce(command: &Command) {
    eprintln!("+ {}", line(command));
}

/// The message for a program that could not be started.
pub fn cannot_start(command: &Command, error: &std::io::Error) -> String {
    format!("could not start `{}`: {error}", command.get_program().to_string_lossy())
}

/// A command as one would type it, with the program's file name instead of its path.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    command.get_args().fold(name, |text, arg| text + " " + &arg.to_string_lossy())
}

/// Whether this is continuous integration, where a missing prerequisite is a failure. Elsewhere it is a reason to skip.
pub fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|v| !v.is_empty())
}

/// The folder of reference data, which is not part of the repository: `HEADSAIL_SHARED`, or else `shared` beside the repository.
pub fn shared(root: &Path) -> PathBuf {
    match std::env::var_os("HEADSAIL_SHARED") {
        Some(path) if !path.is_empty() => path.into(),
        _ => root.parent().unwrap_or(root).join("shared"),
    }
}
