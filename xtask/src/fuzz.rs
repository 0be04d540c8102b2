//! `cargo xtask fuzz`: runs every fuzz target for its share of some minutes.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::run;

const FOLDER: &str = "lab/fuzz";
/// How long all targets together run if nothing else is asked for.
const MINUTES: u64 = 10;
/// A single input that takes longer than this is a finding, in seconds.
const SLOWEST_INPUT: u64 = 20;

/// Runs the targets one after the other. Without nightly Rust or cargo-fuzz there is nothing to do, which is not a failure.
pub fn fuzz(root: &Path, args: &[String]) -> Result<(), String> {
    let minutes = minutes(args)?;
    if let Err(missing) = tools() {
        println!("fuzzing skipped: {missing}");
        return Ok(());
    }
    let targets = targets(&root.join(FOLDER).join("targets"))?;
    // Zero would mean without end.
    let seconds = (minutes * 60 / targets.len().max(1) as u64).max(1);
    for target in &targets {
        let corpus = format!("{FOLDER}/corpus/{target}");
        std::fs::create_dir_all(root.join(&corpus)).map_err(|e| format!("cannot create `{corpus}`: {e}"))?;
        let mut command = cargo_fuzz();
        command.current_dir(root).args(["run", target, "--fuzz-dir", FOLDER, &corpus]);
        let seeds = format!("{FOLDER}/seeds/{target}");
        if root.join(&seeds).is_dir() {
            command.arg(&seeds);
        }
        command.args(["--", &format!("-max_total_time={seconds}"), &format!("-timeout={SLOWEST_INPUT}")]);
        run(&mut command)?;
    }
    Ok(())
}

fn minutes(args: &[String]) -> Result<u64, String> {
    match args {
        [] => Ok(MINUTES),
        [flag, number] if flag == "--minutes" => {
            number.parse().map_err(|_| format!("`{number}` is not a number of minutes"))
        }
        _ => Err("usage: cargo xtask fuzz [--minutes N]".into()),
    }
}

/// `cargo fuzz` of the nightly toolchain. The variable that names the toolchain of this process does not count.
fn cargo_fuzz() -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "fuzz"]);
    command
}

fn tools() -> Result<(), String> {
    let found = cargo_fuzz().arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match found {
        Ok(status) if status.success() => Ok(()),
        _ => Err("it needs nightly Rust from rustup, and `cargo install cargo-fuzz`".into()),
    }
}

/// The names of all targets, in order.
fn targets(folder: &Path) -> Result<Vec<String>, String> {
    let unreadable = |e: std::io::Error| format!("cannot read `{}`: {e}", folder.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minutes_are_read() {
        let read = |args: &[&str]| minutes(&args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
        assert_eq!(read(&[]), Ok(MINUTES));
        assert_eq!(read(&["--minutes", "3"]), Ok(3));
        assert!(read(&["--minutes"]).is_err() && read(&["--minutes", "x"]).is_err());
    }

    #[test]
    fn every_target_is_declared() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(FOLDER);
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let targets = targets(&folder.join("targets")).unwrap();
        assert!(targets.contains(&"decide".to_owned()));
        for target in targets {
            assert!(manifest.contains(&format!("path = \"targets/{target}.rs\"")), "{target}");
        }
    }
}
