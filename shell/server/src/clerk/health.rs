//! Whether the server works. A health check makes the clerk write to the disk, so its result is cached for a moment.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::clerk::Clerk;

/// How long a result is valid.
pub const GOOD_FOR: Duration = Duration::from_secs(1);

/// Checks the health of the clerk, at a limited rate.
#[derive(Clone)]
pub struct Health {
    clerk: Clerk,
    /// The last result, and when it was obtained. The task that holds the lock is the one that asks the clerk.
    last: Arc<Mutex<Option<(Instant, bool)>>>,
}

impl Health {
    pub fn of(clerk: Clerk) -> Health {
        Health { clerk, last: Arc::default() }
    }

    /// Whether changes can be saved now, or could be a moment ago. One task at a time asks the clerk. It continues even if its caller
    /// has gone away, because other callers may be waiting for the result.
    pub async fn is_good(&self) -> bool {
        let mut last = self.last.clone().lock_owned().await;
        if let Some((_, verdict)) = last.filter(|(at, _)| at.elapsed() < GOOD_FOR) {
            return verdict;
        }
        let clerk = self.clerk.clone();
        let asked = tokio::spawn(async move {
            let verdict = clerk.is_healthy().await;
            *last = Some((Instant::now(), verdict));
            verdict
        });
        asked.await.unwrap_or(false)
    }
}
