//! Counts and reports pending logins that were pushed out because there were too many.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use headsail_tailnet::actor::Actor;
use headsail_tailnet::change::Change;
use headsail_tailnet::commit::Commit;
use headsail_tailnet::tailnet::Tailnet;

/// The log reports at most this often.
const REPORT_EVERY: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Displaced {
    count: Arc<AtomicU64>,
    /// When the log last reported, and what the count was then.
    reported: Option<(Instant, u64)>,
}

impl Displaced {
    pub fn count(&self) -> Arc<AtomicU64> {
        self.count.clone()
    }

    /// Counts the logins that a commit took from machines other than those that asked; `was` is the tailnet before it.
    pub fn note(&mut self, was: &Tailnet, commit: &Commit) {
        let displaced = commit.entries.iter().flat_map(|(actor, changes)| {
            changes.iter().filter(move |change| match (actor, change) {
                (Actor::Machine(machine), Change::TicketGone(id)) => {
                    was.ticket(id).is_some_and(|k| k.asking.machine_key != *machine)
                }
                _ => false,
            })
        });
        let new = displaced.count() as u64;
        if new == 0 {
            return;
        }
        let total = self.count.fetch_add(new, Ordering::Relaxed) + new;
        let (last, before) = self.reported.map_or((None, 0), |(at, before)| (Some(at), before));
        if last.is_none_or(|at| at.elapsed() >= REPORT_EVERY) {
            tracing::warn!(
                "too many logins are pending: {} were dropped, oldest first, from the address with the most",
                total - before
            );
            self.reported = Some((Instant::now(), total));
        }
    }
}
