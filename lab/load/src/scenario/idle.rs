//! What the server costs while nothing happens.

use std::time::Duration;

use super::Cost;
use crate::fleet::Fleet;
use crate::measure::{Memory, Meter};
use crate::report::Report;

/// Measures the server for a while with the fleet idle. `empty` is its memory before the first node joined.
pub async fn idle(fleet: &Fleet, server: Meter, empty: Option<Memory>, pause: Duration) -> Report {
    let nodes = fleet.online();
    let cost = Cost::begin(Some(server));
    cost.settle().await;
    let cost = Cost::begin(Some(server));
    tokio::time::sleep(pause).await;
    let mut report = Report::new("idle", nodes);
    if let Some(cpu) = cost.server() {
        report.share("server's share of a core", cpu.as_secs_f64() / pause.as_secs_f64().max(1e-9));
    }
    if let Some(memory) = server.memory() {
        report.bytes("server RSS", memory.rss as f64).bytes("server PSS", memory.pss as f64);
        let grown = memory.rss.saturating_sub(empty.unwrap_or_default().rss);
        report.bytes("server RSS per stream", grown as f64 / nodes.max(1) as f64);
    }
    report
}
