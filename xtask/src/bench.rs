//! `cargo xtask bench NAME`: the benchmarks behind `docs/bench.md`, always in a release build.

use crate::process::{cargo, run};
use crate::product::release_binary;
use std::path::Path;

struct Bench {
    /// The NAME on the command line.
    name: &'static str,
    /// The cargo command behind it, up to the `--`.
    cargo: &'static [&'static str],
    args: &'static [&'static str],
    /// The flag that takes the path of a release build of the server, if the benchmark needs one.
    server_flag: Option<&'static str>,
    measures: &'static str,
}

/// All benchmarks.
const BENCHES: [Bench; 2] = [
    Bench {
        name: "policy",
        cargo: &["run", "--release", "--package", "headsail-load", "--example", "policy"],
        args: &[],
        server_flag: None,
        measures: "compiling a large policy, one node joining, a one-rule edit, memory",
    },
    Bench {
        name: "control",
        cargo: &["run", "--release", "--package", "headsail-load"],
        args: &["suite"],
        server_flag: Some("--server-bin"),
        measures: "nodes that join, join late, move, reconnect and idle, over real sockets",
    },
];

/// Runs one benchmark; its own arguments follow its name.
pub fn bench(root: &Path, args: &[String]) -> Result<(), String> {
    let Some((name, rest)) = args.split_first() else {
        println!("benchmarks:\n{}", list());
        return Ok(());
    };
    let found = BENCHES.iter().find(|b| b.name == name);
    let bench =
        found.ok_or_else(|| format!("unknown benchmark `{name}`; the benchmarks are:\n{}", list()))?;
    let mut command = cargo(root, bench.cargo);
    command.arg("--").args(bench.args);
    if let Some(flag) = bench.server_flag {
        command.arg(flag).arg(release_binary(root)?);
    }
    run(command.args(rest))
}

fn list() -> String {
    let rows: Vec<String> = BENCHES.iter().map(|b| format!("  {:<10} {}", b.name, b.measures)).collect();
    rows.join("\n")
}
