//! The loads. Each is bounded in time and returns a report.

mod check;
mod endpoints;
mod full_map;
mod idle;
mod join;
mod late_join;
mod reconnect;

use std::time::{Duration, Instant};

pub use check::check;
pub use endpoints::endpoints;
pub use full_map::full_map;
pub use idle::idle;
pub use join::{Join, join};
pub use late_join::late_join;
pub use reconnect::{after_restart, reconnect};

use crate::measure::Meter;

/// How long a load waits for its effects to arrive.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// A server is quiet once it has used less than this share of a core in [`QUIET_FOR`] consecutive intervals.
const QUIET_SHARE: f64 = 0.05;
const QUIET_FOR: u32 = 3;
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// CPU time used since a moment, by the server (if its process is known) and by this process.
struct Cost {
    server: Option<Meter>,
    server_before: Option<Duration>,
    own_before: Option<Duration>,
}

impl Cost {
    fn begin(server: Option<Meter>) -> Cost {
        Cost { server, server_before: server.and_then(|m| m.cpu()), own_before: Meter::own().cpu() }
    }

    /// CPU time of the server.
    fn server(&self) -> Option<Duration> {
        Some(self.server?.cpu()?.saturating_sub(self.server_before?))
    }

    /// CPU time of this process. If it is close to the elapsed time, the load generator was the bottleneck.
    fn own(&self) -> Duration {
        Meter::own().cpu().unwrap_or_default().saturating_sub(self.own_before.unwrap_or_default())
    }

    /// Waits until the server is quiet, but no longer than [`PATIENCE`].
    async fn settle(&self) {
        let Some(server) = self.server else { return };
        let deadline = Instant::now() + PATIENCE;
        let (mut before, mut quiet) = (server.cpu().unwrap_or_default(), 0);
        while quiet < QUIET_FOR && Instant::now() < deadline {
            tokio::time::sleep(POLL_INTERVAL).await;
            let now = server.cpu().unwrap_or_default();
            let share = now.saturating_sub(before).as_secs_f64() / POLL_INTERVAL.as_secs_f64();
            quiet = if share < QUIET_SHARE { quiet + 1 } else { 0 };
            before = now;
        }
    }
}

/// `total` divided by `count`; all of it if `count` is zero.
fn each(total: Duration, count: usize) -> Duration {
    total.div_f64(count.max(1) as f64)
}
