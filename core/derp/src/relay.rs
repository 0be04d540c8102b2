//! The relay as a state machine: it takes the bytes received from each connection and queues frames for the others.
//!
//! The caller reads large pieces and passes them to [`Relay::receive`], which copies every packet once, into the queue of
//! its destination. Each connection has a writer, which calls [`Relay::take`] until that returns [`Next::Idle`]. The next
//! call that gives an idle writer something to do appends its connection to `woken`, once, and the caller then wakes the
//! writer.

use std::collections::BTreeSet;
use std::fmt;

use headsail_wire::keys::NodeKey;
use headsail_wire::time::Time;

use crate::frame::{Frame, GoneReason, HEADER_LEN, Header, KEY_LEN, is_disco, kind};
use crate::limits::*;
use crate::nodes::{ConnId, Nodes};
use crate::outbox::{Chunk, DATA, DATA_WHEN_SCARCE, Outbox, Spare};
use crate::{ClientInfo, Malformed};

/// Why the relay closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// The client sent a malformed or oversized frame.
    Malformed(Malformed),
    /// The client sent a frame of this type, which only mesh relays may send.
    NotMesh(u8),
    /// There are more than [`MAX_DUPLICATES`] connections with the client's key.
    Duplicate,
    /// The node may no longer use the relay.
    Refused,
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Close::Malformed(why) => why.fmt(f),
            Close::NotMesh(kind) => write!(f, "relay frame of type `{kind:#04x}` is for mesh relays only"),
            Close::Duplicate => write!(f, "more than `{MAX_DUPLICATES}` relay connections have the same key"),
            Close::Refused => f.write_str("the node may not use this relay"),
        }
    }
}

/// What a connection's writer must do next.
pub enum Next {
    /// Write this chunk, and return it with the next call of [`Relay::take`].
    Write(Chunk),
    /// Wait until the connection is woken.
    Idle,
    /// Close the connection.
    Close(Close),
}

/// Counters since startup, and the current state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections that completed their handshake since startup.
    pub joined: u64,
    /// Current connections.
    pub connections: usize,
    /// Current connections whose client has this relay as its home.
    pub homes: usize,
    /// Keys that currently have more than one connection.
    pub duplicated: usize,
    /// Packets received from clients since startup.
    pub packets: u64,
    /// Bytes of those packets, without frame headers and keys.
    pub bytes: u64,
    /// Packets dropped since startup because their destination did not keep up.
    pub dropped_full: u64,
    /// Packets dropped since startup because their destination was not connected.
    pub dropped_unknown: u64,
    /// Pings answered since startup.
    pub pings: u64,
    /// Bytes currently in all queues.
    pub queued_bytes: usize,
}

struct Conn {
    key: NodeKey,
    info: ClientInfo,
    outbox: Outbox,
    /// Whether the writer found nothing to do and waits to be woken.
    idle: bool,
    closing: Option<Close>,
    home: bool,
    /// Remaining bytes of an ignored frame.
    skip: u32,
    route: Option<Route>,
    /// The nodes that sent packets to this connection, up to [`MAX_HEARD_FROM`]. Each has the connection in its
    /// `heard_by`.
    heard_from: BTreeSet<NodeKey>,
    /// When the next "not here" notice would be due if bursts were not allowed.
    not_here_at: Time,
    keepalive_at: Time,
    keepalive_jitter_ms: u32,
}

/// The last destination of a connection, cached. It is valid until the relay's epoch changes.
#[derive(Clone, Copy)]
struct Route {
    dst: NodeKey,
    to: ConnId,
    epoch: u64,
}

/// All connections of one relay.
#[derive(Default)]
pub struct Relay {
    conns: Vec<Option<Conn>>,
    free: Vec<ConnId>,
    nodes: Nodes,
    /// Changes whenever the connection that receives for some key may have changed.
    epoch: u64,
    spare: Spare,
    stats: Stats,
}

impl Relay {
    /// Creates a relay without connections.
    pub fn new() -> Relay {
        Relay::default()
    }

    /// Adds a connection whose client has proven its key. From now on, it receives the packets for that key.
    ///
    /// `jitter` is any random number. If there are too many connections with the key, one is closed and woken.
    pub fn join(
        &mut self,
        key: NodeKey,
        info: ClientInfo,
        now: Time,
        jitter: u32,
        woken: &mut Vec<ConnId>,
    ) -> ConnId {
        let jitter_ms = jitter % KEEPALIVE_JITTER_MS;
        let conn = Conn {
            key,
            info,
            outbox: Outbox::default(),
            idle: false,
            closing: None,
            home: false,
            skip: 0,
            route: None,
            heard_from: BTreeSet::new(),
            not_here_at: now,
            keepalive_at: keepalive_after(now, jitter_ms),
            keepalive_jitter_ms: jitter_ms,
        };
        let id = self.free.pop().unwrap_or(ConnId(self.conns.len() as u32));
        if id.index() == self.conns.len() {
            self.conns.push(None);
        }
        if let Some(slot) = self.conns.get_mut(id.index()) {
            *slot = Some(conn);
        }
        if let Some(surplus) = self.nodes.join(key, id) {
            self.close(surplus, Close::Duplicate, woken);
        }
        self.epoch += 1;
        self.stats.joined += 1;
        self.stats.connections += 1;
        id
    }

    /// Removes a connection. If it was its node's last, the connections that are known to have got packets from the node
    /// are notified that it is gone.
    pub fn leave(&mut self, id: ConnId, woken: &mut Vec<ConnId>) {
        let Some(conn) = self.conns.get_mut(id.index()).and_then(Option::take) else { return };
        self.free.push(id);
        self.epoch += 1;
        self.stats.connections -= 1;
        self.stats.homes -= usize::from(conn.home);
        self.stats.queued_bytes -= conn.outbox.bytes();
        for key in &conn.heard_from {
            self.nodes.forget_heard(key, id);
        }
        for receiver in self.nodes.leave(&conn.key, id).unwrap_or_default() {
            if let Some(other) = self.conn_mut(receiver) {
                other.heard_from.remove(&conn.key);
            }
            self.notice(receiver, &Frame::PeerGone(conn.key, GoneReason::Disconnected), woken);
        }
    }

    /// Processes bytes that a connection has received and returns how many of them were consumed. The rest is an
    /// incomplete frame, which the caller passes in again together with what follows it.
    ///
    /// Errors: why this connection must be closed; the caller then calls [`Relay::leave`].
    pub fn receive(
        &mut self,
        id: ConnId,
        bytes: &[u8],
        now: Time,
        woken: &mut Vec<ConnId>,
    ) -> Result<usize, Close> {
        let Some(conn) = self.conn_mut(id) else { return Ok(bytes.len()) };
        let key = conn.key;
        let mut done = bytes.len().min(conn.skip as usize);
        conn.skip -= done as u32;
        let mut spoke = false;
        loop {
            let rest = bytes.get(done..).unwrap_or_default();
            let Some(header) = Header::read(rest) else { break };
            match header.kind {
                kind::SEND_PACKET | kind::NOTE_PREFERRED | kind::PING => {
                    header.check().transpose().map_err(Close::Malformed)?;
                }
                kind::FORWARD_PACKET | kind::WATCH_CONNS | kind::CLOSE_PEER => {
                    return Err(Close::NotMesh(header.kind));
                }
                _ => {
                    done += self.skip(id, header, rest.len());
                    continue;
                }
            }
            let Some(payload) = rest.get(HEADER_LEN..HEADER_LEN + header.len as usize) else { break };
            if !spoke {
                spoke = true;
                self.epoch += u64::from(self.nodes.spoke(&key, id));
            }
            match (header.kind, payload.split_first_chunk::<KEY_LEN>()) {
                (kind::SEND_PACKET, Some((dst, packet))) => {
                    self.packet((id, key), NodeKey::from_bytes(*dst), packet, now, woken);
                }
                _ => self.control(id, header.kind, payload, woken),
            }
            done += HEADER_LEN + payload.len();
        }
        Ok(done)
    }

    /// What a connection's writer must do next. `written` is the chunk of the previous call, now that it has been sent.
    pub fn take(&mut self, id: ConnId, written: Option<Chunk>) -> Next {
        if let Some(chunk) = written {
            self.spare.put(chunk);
        }
        let Some(conn) = self.conns.get_mut(id.index()).and_then(Option::as_mut) else { return Next::Idle };
        if let Some(why) = conn.closing {
            return Next::Close(why);
        }
        let before = conn.outbox.bytes();
        match conn.outbox.pop(&mut self.spare) {
            Some(chunk) => {
                self.stats.queued_bytes += conn.outbox.bytes();
                self.stats.queued_bytes -= before;
                Next::Write(chunk)
            }
            None => {
                conn.idle = true;
                Next::Idle
            }
        }
    }

    /// Queues a keep-alive for a connection if one is due, and returns when to call again.
    pub fn tick(&mut self, id: ConnId, now: Time, woken: &mut Vec<ConnId>) -> Time {
        let Some(conn) = self.conn_mut(id) else { return now.plus_secs(KEEPALIVE_SECS) };
        if now < conn.keepalive_at {
            return conn.keepalive_at;
        }
        conn.keepalive_at = keepalive_after(now, conn.keepalive_jitter_ms);
        let next = conn.keepalive_at;
        self.notice(id, &Frame::KeepAlive, woken);
        next
    }

    /// Closes all connections of a node: their writers get [`Next::Close`].
    pub fn refuse(&mut self, key: &NodeKey, woken: &mut Vec<ConnId>) {
        for id in self.nodes.conns(key).to_vec() {
            self.close(id, Close::Refused, woken);
        }
    }

    /// The key of a connection's client, and what the client reported about itself.
    pub fn client(&self, id: ConnId) -> Option<(NodeKey, &ClientInfo)> {
        let conn = self.conns.get(id.index())?.as_ref()?;
        Some((conn.key, &conn.info))
    }

    /// The relay's counters and current state.
    pub fn stats(&self) -> Stats {
        Stats { duplicated: self.nodes.duplicated(), ..self.stats }
    }

    fn conn_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(id.index())?.as_mut()
    }

    fn close(&mut self, id: ConnId, why: Close, woken: &mut Vec<ConnId>) {
        if let Some(conn) = self.conn_mut(id) {
            conn.closing = Some(why);
            conn.wake(id, woken);
        }
    }

    fn notice(&mut self, id: ConnId, frame: &Frame<'_>, woken: &mut Vec<ConnId>) {
        let Some(conn) = self.conns.get_mut(id.index()).and_then(Option::as_mut) else { return };
        let before = conn.outbox.bytes();
        conn.outbox.notice(&mut self.spare, frame);
        self.stats.queued_bytes += conn.outbox.bytes();
        self.stats.queued_bytes -= before;
        conn.wake(id, woken);
    }

    /// Ignores a frame of which `available` bytes have arrived, including the header; returns how many of them to skip now.
    fn skip(&mut self, id: ConnId, header: Header, available: usize) -> usize {
        let here = (available - HEADER_LEN).min(header.len as usize);
        if let Some(conn) = self.conn_mut(id) {
            conn.skip = header.len - here as u32;
        }
        HEADER_LEN + here
    }

    /// Handles a frame that does not carry a packet.
    fn control(&mut self, id: ConnId, kind: u8, payload: &[u8], woken: &mut Vec<ConnId>) {
        let Some(conn) = self.conns.get_mut(id.index()).and_then(Option::as_mut) else { return };
        match kind {
            kind::PING => {
                if let Some(data) = payload.first_chunk() {
                    conn.outbox.pong(*data);
                    conn.wake(id, woken);
                    self.stats.pings += 1;
                }
            }
            kind::NOTE_PREFERRED => {
                self.stats.homes -= usize::from(conn.home);
                conn.home = payload.first().is_some_and(|&home| home != 0);
                self.stats.homes += usize::from(conn.home);
            }
            _ => {}
        }
    }

    /// Queues a client's packet for its destination.
    fn packet(
        &mut self,
        from: (ConnId, NodeKey),
        dst: NodeKey,
        packet: &[u8],
        now: Time,
        woken: &mut Vec<ConnId>,
    ) {
        self.stats.packets += 1;
        self.stats.bytes += packet.len() as u64;
        let Some(to) = self.route(from, dst) else {
            self.stats.dropped_unknown += 1;
            if is_disco(packet) && self.may_say_not_here(from.0, now) {
                self.notice(from.0, &Frame::PeerGone(dst, GoneReason::NotHere), woken);
            }
            return;
        };
        let Some(conn) = self.conns.get_mut(to.index()).and_then(Option::as_mut) else { return };
        let header = Header { kind: kind::RECV_PACKET, len: (KEY_LEN + packet.len()) as u32 }.bytes();
        let parts: [&[u8]; 3] = [&header, from.1.bytes(), packet];
        let before = conn.outbox.bytes();
        let dropped = if is_disco(packet) {
            conn.outbox.disco(&mut self.spare, &parts)
        } else {
            let scarce = self.stats.queued_bytes > MAX_QUEUED_BYTES;
            conn.outbox.data(&mut self.spare, if scarce { DATA_WHEN_SCARCE } else { DATA }, &parts)
        };
        self.stats.queued_bytes += conn.outbox.bytes();
        self.stats.queued_bytes -= before;
        self.stats.dropped_full += dropped as u64;
        conn.wake(to, woken);
    }

    /// The connection that receives for `dst`. Records that it got a packet from the sender, as long as there is room.
    fn route(&mut self, (id, key): (ConnId, NodeKey), dst: NodeKey) -> Option<ConnId> {
        let epoch = self.epoch;
        if let Some(route) = self.conn_mut(id)?.route
            && route.epoch == epoch
            && route.dst == dst
        {
            return Some(route.to);
        }
        let to = self.nodes.active(&dst)?;
        let heard_from = &mut self.conn_mut(to)?.heard_from;
        if heard_from.len() < MAX_HEARD_FROM && heard_from.insert(key) {
            self.nodes.heard(&key, to);
        }
        self.conn_mut(id)?.route = Some(Route { dst, to, epoch });
        Some(to)
    }

    /// Uses up one of the "not here" notices that the connection may get; false if there is none left.
    fn may_say_not_here(&mut self, id: ConnId, now: Time) -> bool {
        let Some(conn) = self.conn_mut(id) else { return false };
        if conn.not_here_at > now.plus_secs(NOT_HERE_BURST - 1) {
            return false;
        }
        conn.not_here_at = conn.not_here_at.max(now).plus_secs(1);
        true
    }
}

impl Conn {
    fn wake(&mut self, id: ConnId, woken: &mut Vec<ConnId>) {
        if std::mem::take(&mut self.idle) {
            woken.push(id);
        }
    }
}

fn keepalive_after(now: Time, jitter_ms: u32) -> Time {
    now.plus_secs(KEEPALIVE_SECS).plus_millis(i64::from(jitter_ms))
}
