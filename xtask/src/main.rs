//! The tasks of this repository, started with `cargo xtask <task>`.
//!
//! A task runs ordinary tools (cargo, go, python3) in the foreground, shows their output and fails if they fail. Continuous
//! integration runs the same tasks.

mod bench;
mod captures;
mod checks;
mod fuzz;
mod interop;
mod metadata;
mod process;
mod product;
mod tests_run;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Printed by `cargo xtask` without a task, and after an unknown one.
const USAGE: &str = "\
usage: cargo xtask <task>

  test [-- ARGS]             run every test of the workspace; ARGS go to `cargo test`
  check                      formatting, tidy and clippy: what a commit has to pass besides the tests
  tidy                       dependencies, purity of core, licences, sizes, words, links and names of tests
  captures [ARGS]            score the policy engine against captures that are not part of the repository
  interop [--all] [-run RE]  run the official clients against a release build; --all includes the slow tests
  fuzz [--minutes N]         run all fuzz targets for N minutes together; needs nightly Rust and cargo-fuzz
  bench NAME [ARGS]          run a benchmark in a release build; without NAME, list the benchmarks";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (task, rest) = match args.split_first() {
        Some((task, rest)) => (task.as_str(), rest),
        None => ("help", &[][..]),
    };
    let root = repository();
    let outcome = match task {
        "test" => tests_run::test(&root, rest),
        "check" => checks::check(&root),
        "tidy" => tidy::tidy(&root),
        "captures" => captures::captures(&root, rest),
        "interop" => interop::interop(&root, rest),
        "fuzz" => fuzz::fuzz(&root, rest),
        "bench" => bench::bench(&root, rest),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        other => Err(format!("unknown task `{other}`\n\n{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask {task}: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the repository this binary was built from.
fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}
