//! How often one machine may change stored rows: machines change rarely, and each change is a row of the change log, a line
//! of the log and a message to every peer.
//!
//! Only commands that machines send are counted, and of these only those that change something durable. Where a node is
//! reached, and whether it is connected, may change at any rate. Logging out is always possible.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headsail_tailnet::change::{Change, Durability};
use headsail_tailnet::command::{Command, Rejection};
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::keys::MachineKey;
use headsail_wire::time::Time;
use tokio::time::Instant;

/// How many changes a machine may make at once. A client that starts, logs in and reports its host makes about five, and a
/// script may restart it many times.
const BURST: u32 = 200;
/// After that it may make one in this time.
pub const EVERY: Duration = Duration::from_secs(3);
/// From this number of machines on, those that may make [`BURST`] changes again are forgotten.
const FORGET_FROM: usize = 4096;

/// What the machines that changed something recently may still do.
pub(super) struct Rates {
    machines: BTreeMap<MachineKey, Bucket>,
    forget_from: usize,
    refused: Arc<AtomicU64>,
}

struct Bucket {
    /// When the machine may make [`BURST`] changes again.
    full_at: Instant,
    /// Whether the log says already that it is refused.
    is_reported: bool,
}

impl Rates {
    /// `refused` counts the changes that were refused.
    pub fn new(refused: Arc<AtomicU64>) -> Rates {
        Rates { machines: BTreeMap::new(), forget_from: FORGET_FROM, refused }
    }

    /// Counts what a command is about to change.
    ///
    /// # Errors
    /// Its machine changes too often.
    pub fn check(
        &mut self,
        t: &Tailnet,
        command: &Command,
        changes: &[Change],
        (now, at): (Time, Instant),
    ) -> Result<(), Rejection> {
        if changes.iter().all(|change| change.durability() != Durability::Durable) {
            return Ok(());
        }
        let Some(machine) = machine_of(t, command, now) else { return Ok(()) };
        if self.take(machine, at) {
            return Ok(());
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        if let Some(bucket) = self.machines.get_mut(&machine).filter(|bucket| !bucket.is_reported) {
            bucket.is_reported = true;
            let node = t.nodes_of_machine(&machine).next().map(|node| node.id.get());
            tracing::warn!(node, "a machine changes its node too often; it is refused until it slows down");
        }
        Err(Rejection::TooOften)
    }

    /// Whether the machine may make a change, which counts then.
    fn take(&mut self, machine: MachineKey, at: Instant) -> bool {
        if self.machines.len() >= self.forget_from {
            self.machines.retain(|_, bucket| bucket.full_at > at);
            self.forget_from = FORGET_FROM.max(2 * self.machines.len());
        }
        let bucket = self.machines.entry(machine).or_insert(Bucket { full_at: at, is_reported: false });
        if bucket.full_at <= at {
            *bucket = Bucket { full_at: at, is_reported: false };
        }
        let full_at = bucket.full_at + EVERY;
        let fits = full_at <= at + EVERY * BURST;
        if fits {
            bucket.full_at = full_at;
        }
        fits
    }
}

/// The machine that sent a command, unless it logs out with it.
fn machine_of(t: &Tailnet, command: &Command, now: Time) -> Option<MachineKey> {
    match command {
        Command::Register(r) => Some(r.machine_key).filter(|_| r.expiry.is_none_or(|at| at > now)),
        Command::MapUpdate { node, .. } | Command::StreamOpened { node, .. } => {
            t.node(*node).map(|node| node.machine_key)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(number: u8) -> MachineKey {
        MachineKey::from_bytes([number; 32])
    }

    #[test]
    fn a_machine_has_a_burst_and_then_a_rate_of_its_own() {
        let mut rates = Rates::new(Arc::default());
        let start = Instant::now();
        assert!((0..BURST).all(|_| rates.take(machine(1), start)));
        assert!(!rates.take(machine(1), start));
        assert!(rates.take(machine(2), start), "others are not concerned");
        assert!(!rates.take(machine(1), start + EVERY - Duration::from_millis(1)));
        assert!(rates.take(machine(1), start + EVERY));
        assert!(!rates.take(machine(1), start + EVERY));
        let rested = start + EVERY * (BURST + 1);
        assert!((0..BURST).all(|_| rates.take(machine(1), rested)) && !rates.take(machine(1), rested));
    }

    #[test]
    fn machines_that_rest_are_forgotten() {
        let mut rates = Rates::new(Arc::default());
        let start = Instant::now();
        for number in 0..FORGET_FROM as u64 {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            rates.take(MachineKey::from_bytes(key), start);
        }
        rates.take(machine(255), start + EVERY);
        assert_eq!(rates.machines.len(), 1);
    }
}
