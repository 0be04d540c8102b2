//! What the server knows of one control connection, besides its bytes.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use headsail_wire::keys::MachineKey;
use tokio::sync::Notify;

use crate::app::TailnetService;
use crate::listen::Seat;
use crate::system::seldom::Seldom;

/// Answers of one connection that may be ended before their client has read them. What HTTP/2 has already taken of these
/// stays in memory until the connection ends.
const MAX_CUT: usize = 16;

/// A control connection, from the end of its handshake on.
pub struct Connection {
    /// The machine key that the connection has proved.
    pub machine: MachineKey,
    /// The source address, if it came over the network.
    pub source: Option<IpAddr>,
    /// Its place among all connections, if it has one.
    pub seat: Option<Seat>,
    /// Requests without a response.
    requests: AtomicUsize,
    /// Answers that were ended before their client had read them.
    cut: AtomicUsize,
    closes: Notify,
}

impl Connection {
    pub fn new(machine: MachineKey, source: Option<IpAddr>, seat: Option<Seat>) -> Connection {
        let (requests, cut) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Connection { machine, source, seat, requests, cut, closes: Notify::new() }
    }

    /// Keeps the place of a connection that a registered node is behind.
    pub fn recognise(&self, tailnet: &TailnetService) {
        if let Some(seat) = self.seat.as_ref().filter(|seat| !seat.is_known())
            && tailnet.clerk.snapshot().nodes_of_machine(&self.machine).next().is_some()
        {
            seat.recognise();
        }
    }

    /// Counts a request for as long as the result lives.
    pub fn request(&self) -> OpenRequest<'_> {
        OpenRequest { now: self.requests.fetch_add(1, Ordering::Relaxed) + 1, connection: self }
    }

    /// Ends the connection, and frees what waits in it.
    pub fn close(&self) {
        self.closes.notify_one();
    }

    /// Notes that an answer ended before its client had read it.
    pub fn cuts_answer(&self) {
        if self.cut.fetch_add(1, Ordering::Relaxed) + 1 > MAX_CUT {
            self.close();
        }
    }

    /// Waits for [`Connection::close`].
    pub async fn closed(&self) {
        self.closes.notified().await;
    }
}

/// A request that has no response yet.
pub struct OpenRequest<'a> {
    /// How many there were with it when it came.
    pub now: usize,
    connection: &'a Connection,
}

impl Drop for OpenRequest<'_> {
    fn drop(&mut self) {
        self.connection.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Connections that were closed because their client did not read its maps.
#[derive(Default)]
pub struct Unread {
    closed: AtomicU64,
    line: Seldom,
}

impl Unread {
    pub fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }

    pub(super) fn closes(&self, machine: &MachineKey) {
        self.closed.fetch_add(1, Ordering::Relaxed);
        if self.line.is_due() {
            tracing::warn!("closed a control connection of {machine:?}: its client does not read its maps");
        }
    }
}
