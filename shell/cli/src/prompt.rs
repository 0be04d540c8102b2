//! Questions before something is destroyed.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::output::Failure;

/// Asks `question` unless `force` says that the answer is yes. The answer.
///
/// # Errors
/// There is nobody to ask.
pub fn confirm(question: &str, force: bool) -> Result<bool, Failure> {
    if force {
        return Ok(true);
    }
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::new(format!("{question} Nobody is there to answer: say yes with --force")));
    }
    // stderr, so that the question does not end up in a file.
    let mut stderr = io::stderr();
    let asked = write!(stderr, "{question} [y/n] ").and_then(|()| stderr.flush());
    let mut answer = String::new();
    asked
        .and_then(|()| stdin.lock().read_line(&mut answer))
        .map_err(|e| Failure::new(format!("cannot ask: {e}")))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
