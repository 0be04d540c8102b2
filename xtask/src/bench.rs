//! `cargo xtask bench NAME`: the benchmarks behind `docs/bench.md`, always in a release build.

use crate::process::{cargo, run};
use std::path::Path;

/// One benchmark: how it is called, the cargo command behind it, and what it measures.
struct Bench {
    name: &'static str,
    cargo: &'static [&'static str],
    measures: &'static str,
}

/// All benchmarks. A new one is one more line here.
const BENCHES: [Bench; 1] = [Bench {
    name: "policy",
    cargo: &["run", "--release", "--package", "headsail-policy", "--example", "bench"],
    measures: "compiling a large policy, one node joining, a one-rule edit, memory",
}];

/// Runs one benchmark; its own arguments follow its name.
pub fn bench(root: &Path, args: &[String]) -> Result<(), String> {
    let Some((name, rest)) = args.split_first() else {
        println!("benchmarks:\n{}", list());
        return Ok(());
    };
    let found = BENCHES.iter().find(|b| b.name == name);
    let bench = found.ok_or_else(|| format!("unknown benchmark `{name}`; there are:\n{}", list()))?;
    run(cargo(root, bench.cargo).arg("--").args(rest))
}

fn list() -> String {
    let rows: Vec<String> = BENCHES.iter().map(|b| format!("  {:<10} {}", b.name, b.measures)).collect();
    rows.join("\n")
}
