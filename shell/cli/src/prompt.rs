//! Confirmation prompts before destructive commands.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::output::Failure;

/// Asks a yes/no question and returns the answer; with `force`, returns yes without asking.
///
/// # Errors
/// stdin is not a terminal, or reading from it failed.
pub fn confirm(question: &str, force: bool) -> Result<bool, Failure> {
    if force {
        return Ok(true);
    }
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::new(format!(
            "{question} Cannot ask for confirmation because stdin is not a terminal; use --force to proceed"
        )));
    }
    // Written to stderr, so that redirecting stdout does not hide the question.
    let mut stderr = io::stderr();
    let asked = write!(stderr, "{question} [y/n] ").and_then(|()| stderr.flush());
    let mut answer = String::new();
    asked
        .and_then(|()| stdin.lock().read_line(&mut answer))
        .map_err(|e| Failure::new(format!("cannot ask for confirmation: {e}")))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
