//! The loads. Each is bounded, ends by itself, and gives a report.

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

/// How long a load waits for what it has caused.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// A server is quiet when it used less than this share of a core for [`QUIET_FOR`] looks.
const QUIET_SHARE: f64 = 0.05;
const QUIET_FOR: u32 = 3;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// CPU time of the server between two moments, where it can be told.
struct Cost {
    server: Option<Meter>,
    server_before: Option<Duration>,
    own_before: Option<Duration>,
}

impl Cost {
    fn begin(server: Option<Meter>) -> Cost {
        Cost { server, server_before: server.and_then(|m| m.cpu()), own_before: Meter::own().cpu() }
    }

    /// What the server has used since.
    fn server(&self) -> Option<Duration> {
        Some(self.server?.cpu()?.saturating_sub(self.server_before?))
    }

    /// What this process has used since: near the elapsed time, it was the bottleneck itself.
    fn own(&self) -> Duration {
        Meter::own().cpu().unwrap_or_default().saturating_sub(self.own_before.unwrap_or_default())
    }

    /// Waits until the server has nothing to do any more, within reason.
    async fn settle(&self) {
        let Some(server) = self.server else { return };
        let deadline = Instant::now() + PATIENCE;
        let (mut before, mut quiet) = (server.cpu().unwrap_or_default(), 0);
        while quiet < QUIET_FOR && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = server.cpu().unwrap_or_default();
            let share = now.saturating_sub(before).as_secs_f64() / LOOK_EVERY.as_secs_f64();
            quiet = if share < QUIET_SHARE { quiet + 1 } else { 0 };
            before = now;
        }
    }
}

/// A time divided among so many; all of it where there are none.
fn each(total: Duration, count: usize) -> Duration {
    total.div_f64(count.max(1) as f64)
}
