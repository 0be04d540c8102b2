//! Whether the server works, for whoever asks: it costs the only writer a look at the disk, so it is known for a while.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::clerk::Clerk;

/// How long a verdict is good for.
pub const GOOD_FOR: Duration = Duration::from_secs(1);

/// Asks the clerk how it is, not too often.
#[derive(Clone)]
pub struct Health {
    clerk: Clerk,
    /// The last verdict, and when it was made. Whoever holds the lock is the one that asks.
    last: Arc<Mutex<Option<(Instant, bool)>>>,
}

impl Health {
    /// Nothing is known yet.
    pub fn of(clerk: Clerk) -> Health {
        Health { clerk, last: Arc::default() }
    }

    /// Whether changes can be saved, now or a moment ago. The clerk is asked by one task at a time, which goes on where
    /// its asker has gone: others may wait for it.
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
