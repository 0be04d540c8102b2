//! Full maps, one after the other: each over a new connection, then all over one connection.

use std::time::{Duration, Instant};

use super::{Cost, each};
use crate::Result;
use crate::client::Connection;
use crate::fleet::Fleet;
use crate::measure::{Meter, median};
use crate::report::Report;

/// Requests `maps` maps in each way, with the keys of online nodes and without changing anything.
///
/// # Errors
/// The server sends no map.
pub async fn full_map(fleet: &Fleet, server: Option<Meter>, maps: usize) -> Result<Report> {
    let mut report = Report::new("full map", fleet.online());
    let cost = Cost::begin(server);
    let mut took = Vec::with_capacity(maps);
    for i in 0..maps {
        let begin = Instant::now();
        let node = i % fleet.online().max(1);
        let mut connection = fleet.connect(node).await?;
        one(fleet, node, &mut connection).await?;
        took.push(begin.elapsed());
    }
    cost.settle().await;
    note(&mut report, "over a new connection", &cost, took);

    let cost = Cost::begin(server);
    let mut connection = fleet.connect(0).await?;
    let (mut took, mut sizes) = (Vec::with_capacity(maps), (0, 0));
    for _ in 0..maps {
        let begin = Instant::now();
        sizes = one(fleet, 0, &mut connection).await?;
        took.push(begin.elapsed());
    }
    cost.settle().await;
    note(&mut report, "over one connection", &cost, took);
    report.bytes("compressed", sizes.0 as f64).bytes("as JSON", sizes.1 as f64);
    Ok(report)
}

fn note(report: &mut Report, way: &str, cost: &Cost, took: Vec<Duration>) {
    let maps = took.len();
    report.time(&format!("{way}, p50"), median(took));
    if let Some(cpu) = cost.server() {
        report.time(&format!("{way}, server CPU"), each(cpu, maps));
    }
}

/// Requests one map; returns its compressed and decompressed size.
async fn one(fleet: &Fleet, node: usize, connection: &mut Connection) -> Result<(usize, usize)> {
    let mut stream = connection.open_stream(fleet.identity(node)?, true).await?;
    let map = stream.next().await?.ok_or("the server ended the stream before the first map")?;
    Ok((map.payload.len(), fleet.board().directory.text_len(&map.payload)?))
}
