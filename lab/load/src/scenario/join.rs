//! Nodes register and open their streams, a bounded number at a time.

use std::time::Instant;

use super::{Cost, PATIENCE, each};
use crate::Result;
use crate::fleet::{Entry, Fleet, What};
use crate::measure::{Meter, Spread};
use crate::report::Report;

/// How many nodes join, and how many of them at a time.
#[derive(Clone, Copy, Debug)]
pub struct Join {
    pub nodes: usize,
    /// How many may have begun and not have their first map yet.
    pub in_flight: usize,
}

/// Brings the fleet online and waits until every stream has mentioned every other node.
///
/// # Errors
/// A node could not join.
pub async fn join(fleet: &mut Fleet, server: Option<Meter>, how: Join) -> Result<Report> {
    let board_expects = how.nodes.saturating_sub(1);
    fleet.board().wipe();
    fleet.board().expect(board_expects);
    let (begin, cost) = (Instant::now(), Cost::begin(server));
    let arrivals = fleet.enter(0..how.nodes, how.in_flight, Entry::New).await;
    let arrivals = arrivals.into_iter().collect::<Result<Vec<_>>>()?;
    let complete = fleet.board().gather(how.nodes, PATIENCE, |w| w == What::Complete).await;
    let all_seen = complete.iter().map(|n| n.at).max().unwrap_or(begin) - begin;
    let busy = cost.own();
    cost.settle().await;

    let first_maps = arrivals.iter().map(|a| a.first_map).max().unwrap_or(begin) - begin;
    let registering = Spread::of(arrivals.iter().map(|a| a.registered - a.connected).collect());
    let streams_cut = fleet.board().notes().iter().filter(|n| n.what == What::Ended).count();
    let mut report = Report::new("join", how.nodes);
    report.time("all first maps", first_maps).time("all have seen all", all_seen);
    if complete.len() < how.nodes {
        report.count("nodes that did NOT see all", how.nodes - complete.len());
    }
    if let Some(cpu) = cost.server() {
        report.time("server CPU per join", each(cpu, how.nodes));
    }
    report.time("registration p50", registering.p50).time("registration p99", registering.p99);
    report.count("streams cut by the server", streams_cut);
    let deltas = fleet.board().deltas();
    report.count("delta frames", usize::try_from(deltas.frames)?).bytes("deltas in all", deltas.bytes as f64);
    report.share("generator's core in use", busy.as_secs_f64() / all_seen.as_secs_f64().max(1e-9));
    Ok(report)
}
