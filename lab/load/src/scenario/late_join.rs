//! More nodes join a quiet mesh, one by one.

use super::{Cost, PATIENCE, each};
use crate::Result;
use crate::fleet::{Entry, Fleet, What};
use crate::measure::{Meter, Spread, median};
use crate::report::Report;

/// Brings the remaining nodes of the fleet online, one by one.
///
/// All times count from the moment when the node sends its registration.
///
/// # Errors
/// A node could not join.
pub async fn late_join(fleet: &mut Fleet, server: Option<Meter>) -> Result<Report> {
    let nodes = fleet.online();
    let (mut registered, mut first_map, mut seen, mut last) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut missed, mut bytes, mut frames) = (0, 0, 0);
    let cost = Cost::begin(server);
    for late in nodes..fleet.size() {
        let viewers = fleet.online();
        fleet.board().wipe();
        fleet.board().watch(late);
        let arrival = fleet.enter(late..late + 1, 1, Entry::New).await.remove(0)?;
        let saw = fleet.board().gather(viewers, PATIENCE, |w| w == What::Saw).await;
        cost.settle().await;
        registered.push(arrival.registered - arrival.connected);
        first_map.push(arrival.first_map - arrival.connected);
        last.extend(saw.iter().map(|n| n.at.saturating_duration_since(arrival.connected)).max());
        seen.extend(saw.iter().map(|n| n.at.saturating_duration_since(arrival.connected)));
        missed += viewers - saw.len().min(viewers);
        let deltas = fleet.board().deltas();
        bytes += deltas.bytes;
        frames += deltas.frames;
    }
    let repeats = fleet.size() - nodes;
    let views = seen.len();
    let seen = Spread::of(seen);
    let mut report = Report::new("late join", nodes);
    report
        .count("repeats", repeats)
        .time("registered, p50", median(registered))
        .time("own first map, p50", median(first_map));
    report.time("seen by the others, p50", seen.p50).time("seen by the others, p99", seen.p99);
    let last = Spread::of(last);
    report.time("seen by the last, p50", last.p50).time("seen by the last, max", last.max);
    if missed > 0 {
        report.count("viewers that did NOT see it", missed);
    }
    if let Some(cpu) = cost.server() {
        report.time("server CPU", each(cpu, repeats)).time("server CPU per viewer", each(cpu, views));
    }
    report.bytes("bytes per viewer", bytes as f64 / views.max(1) as f64);
    report.count("frames per 100 viewers", usize::try_from(frames)? * 100 / views.max(1));
    Ok(report)
}
