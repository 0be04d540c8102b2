//! One node changes its endpoints at a fixed rate.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use super::{Cost, PATIENCE, each};
use crate::Result;
use crate::client::probe_endpoint;
use crate::fleet::{Fleet, Note, What};
use crate::measure::{Meter, Spread};
use crate::report::Report;

/// The node whose endpoints change.
const MOVER: usize = 0;

/// Sends `updates` lite updates at each of these rates per second, each with a new endpoint.
///
/// A viewer that has seen an update counts as having seen all older ones. Numbers continue where earlier loads on the same
/// server stopped.
///
/// # Errors
/// The server refuses an update.
pub async fn endpoints(
    fleet: &mut Fleet,
    server: Option<Meter>,
    rates: &[u32],
    updates: u16,
) -> Result<Report> {
    let viewers = fleet.online().saturating_sub(1);
    let mut report = Report::new("endpoint change", fleet.online());
    for rate in rates {
        fleet.board().wipe();
        let cost = Cost::begin(server);
        let before = fleet.board().newest_probe();
        let newest = before.checked_add(updates).ok_or("no numbers are left for new endpoints")?;
        let sent = send(fleet, *rate, before + 1..=newest).await?;
        let done = fleet.board().gather(viewers, PATIENCE, |w| w == What::Probe(newest)).await;
        cost.settle().await;

        let (seen, last) = latencies(&fleet.board().notes(), &sent, fleet.size());
        let pairs = viewers * usize::from(updates);
        let label = |what: &str| format!("{rate}/s: {what}");
        report
            .time(&label("seen by the others, p50"), seen.p50)
            .time(&label("seen by the others, p99"), seen.p99);
        report
            .time(&label("seen by the last, p50"), last.p50)
            .time(&label("seen by the last, max"), last.max);
        if done.len() < viewers {
            report.count(&label("viewers that did NOT see the newest"), viewers - done.len());
        }
        if let Some(cpu) = cost.server() {
            report.time(&label("server CPU per update and viewer"), each(cpu, pairs));
        }
        let bytes = fleet.board().deltas().bytes as f64 / pairs.max(1) as f64;
        report.bytes(&label("bytes per update and viewer"), bytes);
    }
    Ok(report)
}

/// Sends updates at a steady rate; returns their numbers and when each was sent.
async fn send(fleet: &Fleet, rate: u32, numbers: RangeInclusive<u16>) -> Result<Vec<(u16, Instant)>> {
    let identity = fleet.identity(MOVER)?;
    let mut connection = fleet.connect(MOVER).await?;
    let mut pace = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
    let mut sent = Vec::with_capacity(numbers.len());
    for number in numbers {
        pace.tick().await;
        sent.push((number, Instant::now()));
        connection.tell_endpoint(identity, &probe_endpoint(number)).await?;
    }
    Ok(sent)
}

/// How long each update took to reach each viewer, and to reach the last one.
fn latencies(notes: &[Note], sent: &[(u16, Instant)], size: usize) -> (Spread, Spread) {
    let (mut all, mut lasts) = (Vec::new(), Vec::new());
    for (number, at) in sent {
        let mut first_seen: Vec<Option<Instant>> = vec![None; size];
        for note in notes {
            let (What::Probe(probe), Some(slot)) = (note.what, first_seen.get_mut(note.viewer)) else {
                continue;
            };
            if probe >= *number && note.viewer != MOVER {
                slot.get_or_insert(note.at);
            }
        }
        let took: Vec<Duration> =
            first_seen.into_iter().flatten().map(|seen| seen.saturating_duration_since(*at)).collect();
        lasts.extend(took.iter().max());
        all.extend(took);
    }
    (Spread::of(all), Spread::of(lasts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_update_counts_for_older_ones() {
        let t = Instant::now();
        let ms = Duration::from_millis;
        let note = |viewer, number, at| Note { viewer, what: What::Probe(number), at: t + ms(at) };
        let notes = [note(1, 1, 5), note(2, 2, 30), note(1, 2, 31), note(0, 2, 1)];
        let (all, last) = latencies(&notes, &[(1, t), (2, t + ms(20))], 3);
        assert_eq!((all.p50, all.max), (ms(10), ms(30)));
        assert_eq!((last.p50, last.max), (ms(11), ms(30)));
    }
}
