//! Whether the server works, for whoever asks: it costs the only writer a look at the disk, so it is known for a while.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::app::App;

/// How long a verdict is good for.
pub const GOOD_FOR: Duration = Duration::from_secs(1);

/// The last verdict, and when it was made. Whoever holds the lock is the one that asks.
#[derive(Default)]
pub struct Verdict(Mutex<Option<(Instant, bool)>>);

/// Whether changes can be saved, now or a moment ago. The clerk is asked by one task at a time, which goes on where its
/// asker has gone: others may wait for it.
pub async fn is_healthy(app: Arc<App>) -> bool {
    let asked = tokio::spawn(async move {
        let mut last = app.health.0.lock().await;
        match *last {
            Some((at, verdict)) if at.elapsed() < GOOD_FOR => verdict,
            _ => {
                let verdict = app.clerk.is_healthy().await;
                *last = Some((Instant::now(), verdict));
                verdict
            }
        }
    });
    asked.await.unwrap_or(false)
}
