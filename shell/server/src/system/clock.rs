//! The process clock. It never runs backwards.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use headsail_wire::time::Time;

static LATEST: AtomicI64 = AtomicI64::new(i64::MIN);

/// The current time. If the system clock was set back, the latest time that was ever returned.
pub fn now() -> Time {
    let system = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64);
    Time::from_micros(LATEST.fetch_max(system, Ordering::Relaxed).max(system))
}
