//! All nodes are cut and reconnect at once.

use std::time::{Duration, Instant};

use super::{Cost, PATIENCE, each};
use crate::Result;
use crate::fleet::{Arrival, Entry, Fleet, What};
use crate::measure::{Meter, Spread, median};
use crate::report::Report;

/// Cuts all nodes and lets them reconnect, `repeats` times.
///
/// # Errors
/// A node could not reconnect.
pub async fn reconnect(fleet: &mut Fleet, server: Option<Meter>, repeats: usize) -> Result<Report> {
    let nodes = fleet.online();
    let (mut p50, mut last, mut complete, mut cpu) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut deltas = 0;
    for _ in 0..repeats {
        prepare(fleet, nodes);
        let (begin, cost) = (Instant::now(), Cost::begin(server));
        fleet.cut(0..nodes);
        let back = come_back(fleet, nodes, begin).await?;
        cost.settle().await;
        p50.push(back.maps.p50);
        last.push(back.maps.max);
        complete.push(back.complete);
        cpu.extend(cost.server());
        deltas += fleet.board().deltas().frames;
    }
    let mut report = Report::new("all reconnect", nodes);
    report.count("repeats", repeats).time("first map, p50", median(p50)).time("last first map", median(last));
    report.time("all complete", median(complete));
    if !cpu.is_empty() {
        let cpu = median(cpu);
        report.time("server CPU until quiet", cpu).time("server CPU per node", each(cpu, nodes));
    }
    report.count("delta frames per node", usize::try_from(deltas)? / (nodes * repeats).max(1));
    Ok(report)
}

/// The same with a restart of the server: `restart` kills it, starts it again and returns a meter for the new process.
///
/// # Errors
/// The server does not start again, or a node could not reconnect.
pub async fn after_restart<R>(fleet: &mut Fleet, restart: R) -> Result<Report>
where
    R: AsyncFnOnce() -> Result<Option<Meter>>,
{
    let nodes = fleet.online();
    prepare(fleet, nodes);
    let begin = Instant::now();
    fleet.cut(0..nodes);
    let server = restart().await?;
    let answers = begin.elapsed();
    let cost = Cost { server_before: Some(Duration::ZERO), ..Cost::begin(server) };
    let back = come_back(fleet, nodes, begin).await?;
    cost.settle().await;

    let mut report = Report::new("kill -9 and start", nodes);
    report.time("server answers again", answers).time("first map, p50", back.maps.p50);
    report.time("last first map", back.maps.max).time("all complete", back.complete);
    if let Some(cpu) = cost.server() {
        report.time("server CPU until quiet", cpu);
    }
    if let Some(memory) = server.and_then(|m| m.memory()) {
        report.bytes("server RSS then", memory.rss as f64);
    }
    Ok(report)
}

struct Reconnected {
    maps: Spread,
    complete: Duration,
}

fn prepare(fleet: &Fleet, nodes: usize) {
    fleet.board().wipe();
    fleet.board().expect(nodes.saturating_sub(1));
}

async fn come_back(fleet: &mut Fleet, nodes: usize, begin: Instant) -> Result<Reconnected> {
    let arrivals = fleet.enter(0..nodes, nodes, Entry::Known).await;
    let arrivals: Vec<Arrival> = arrivals.into_iter().collect::<Result<_>>()?;
    let complete = fleet.board().gather(nodes, PATIENCE, |w| w == What::Complete).await;
    if complete.len() < nodes {
        return Err(format!("only `{}` of {nodes} nodes saw all others again", complete.len()).into());
    }
    let maps = Spread::of(arrivals.iter().map(|a| a.first_map - begin).collect());
    let complete = complete.iter().map(|n| n.at).max().unwrap_or(begin) - begin;
    Ok(Reconnected { maps, complete })
}
