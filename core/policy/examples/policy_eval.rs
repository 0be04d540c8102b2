//! Answers questions about policies, one JSON object a line, on standard output.

use std::io::{BufRead, Write};

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        writeln!(out, "{}", headsail_policy::eval::answer(&line?))?;
    }
    Ok(())
}
