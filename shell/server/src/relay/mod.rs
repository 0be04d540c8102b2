//! The DERP relay and STUN on real sockets. All rules of the protocol are in `headsail_derp`.
//!
//! Each connection is one task in [`socket`]. All tasks share one state behind one lock, which is held for as long as it
//! takes to copy a piece of input, some microseconds. `listen` and `http` hand connections over; what they answer before is in
//! [`responses`].

mod end;
mod handshake;
pub mod responses;
mod socket;
pub mod stun;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use headsail_derp::{ConnId, Identity};
use headsail_wire::keys::{NodeKey, hex};
use headsail_wire::time::Time;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

pub use end::End;

/// Decides by the public key of a node whether it may use the relay.
pub type Admission = Arc<dyn Fn(&[u8; 32]) -> bool + Send + Sync>;

/// A handle to the relay, cheap to clone.
#[derive(Clone)]
pub struct Relay(Arc<Shared>);

/// What all connections of a relay share.
struct Shared {
    started: Instant,
    identity: Identity,
    admission: Admission,
    state: Mutex<State>,
    counts: Counts,
}

/// The relay's state, and the tasks that wait for something to write, by connection number.
#[derive(Default)]
struct State {
    core: headsail_derp::Relay,
    writers: Vec<Option<Waker>>,
}

/// How many connections ended in each abnormal way.
#[derive(Default)]
struct Counts {
    refused: AtomicU64,
    handshake_failed: AtomicU64,
    stalled: AtomicU64,
    violated: AtomicU64,
}

/// The relay's counters, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayStats {
    pub core: headsail_derp::Stats,
    /// Connections refused because their node may not use the relay.
    pub refused: u64,
    /// Connections that ended before their handshake was complete.
    pub handshake_failed: u64,
    /// Connections closed because they accepted no bytes.
    pub stalled: u64,
    /// Connections closed because of what they sent.
    pub violated: u64,
}

impl Relay {
    /// A relay with the private key of the identity that clients know, and the rule that admits nodes.
    ///
    /// The rule is applied when a client connects, and again about once a minute.
    pub fn new(private_key: [u8; 32], admission: Admission) -> Relay {
        Relay(Arc::new(Shared {
            started: Instant::now(),
            identity: Identity::new(private_key),
            admission,
            state: Mutex::default(),
            counts: Counts::default(),
        }))
    }

    /// The relay's public key as in its HTTP response: 64 hex digits without a prefix.
    pub fn public_key_hex(&self) -> String {
        hex(self.0.identity.public().bytes())
    }

    /// Serves one client after its HTTP request, until its connection ends; returns how it ended.
    ///
    /// `io` yields what follows the head of the request, with any WebSocket framing taken off.
    /// `admitted` is called once the client has proved its key and may use the relay.
    pub async fn serve_stream<S>(&self, io: S, remote: SocketAddr, admitted: impl FnOnce() + Send) -> End
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let end = match handshake::run(&self.0, io).await {
            Ok(connection) => {
                admitted();
                connection.await
            }
            Err(end) => end,
        };
        self.0.counts.note(&end);
        tracing::debug!(%remote, %end, "relay connection ended");
        end
    }

    /// Ends the connections of a node that may no longer use the relay.
    pub fn refuse(&self, node: &[u8; 32]) {
        self.0.locked(|core, woken| core.refuse(&NodeKey::from_bytes(*node), woken));
    }

    pub fn stats(&self) -> RelayStats {
        let counts = &self.0.counts;
        RelayStats {
            core: self.0.lock().core.stats(),
            refused: counts.refused.load(Ordering::Relaxed),
            handshake_failed: counts.handshake_failed.load(Ordering::Relaxed),
            stalled: counts.stalled.load(Ordering::Relaxed),
            violated: counts.violated.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    /// An instant as the relay's state knows it: the time since the start, because only differences matter there.
    fn time(&self, at: Instant) -> Time {
        Time::from_micros(at.saturating_duration_since(self.started).as_micros() as i64)
    }

    /// The instant of a time of the relay's state, for timers.
    fn instant(&self, time: Time) -> Instant {
        self.started + Duration::from_micros(u64::try_from(time.micros()).unwrap_or(0))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state; then, with the lock released, wakes the writers that the change names.
    fn locked<R>(&self, change: impl FnOnce(&mut headsail_derp::Relay, &mut Vec<ConnId>) -> R) -> R {
        let mut woken = Vec::new();
        let mut state = self.lock();
        let result = change(&mut state.core, &mut woken);
        let writers: Vec<Waker> = woken.into_iter().filter_map(|id| state.writer(id)).collect();
        drop(state);
        writers.into_iter().for_each(Waker::wake);
        result
    }
}

impl State {
    /// Removes and returns the task that waits to write for a connection.
    fn writer(&mut self, id: ConnId) -> Option<Waker> {
        self.writers.get_mut(id.index())?.take()
    }

    /// Remembers the task that waits to write for a connection.
    fn park(&mut self, id: ConnId, waker: &Waker) {
        if self.writers.len() <= id.index() {
            self.writers.resize(id.index() + 1, None);
        }
        if let Some(slot) = self.writers.get_mut(id.index()) {
            match slot {
                Some(parked) => parked.clone_from(waker),
                None => *slot = Some(waker.clone()),
            }
        }
    }
}

impl Counts {
    fn note(&self, end: &End) {
        let count = match end {
            End::Refused => &self.refused,
            End::Handshake(_) => &self.handshake_failed,
            End::Stalled => &self.stalled,
            End::Closed(headsail_derp::Close::Refused) => &self.refused,
            End::Closed(_) => &self.violated,
            End::Eof | End::Io(_) => return,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
