//! Log lines that a client can cause are written once in a while, however often it does so.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The shortest time between two lines of one kind: often enough to notice an attack, too seldom to fill a disk.
const PAUSE: Duration = Duration::from_secs(60);

/// When a line of one kind was written last.
#[derive(Default)]
pub struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// Whether to write the line now.
    pub fn is_due(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_due = last.is_none_or(|at| now.duration_since(at) >= PAUSE);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_line_is_due_once_in_a_pause() {
        let line = Seldom::default();
        assert_eq!([line.is_due(), line.is_due()], [true, false]);
        tokio::time::advance(PAUSE).await;
        assert_eq!([line.is_due(), line.is_due()], [true, false]);
    }
}
