//! Frames: `u8 type | u32 length | payload`, from and to bytes. Both roles; see `derp/derp.go`.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};

use headsail_wire::keys::NodeKey;

use crate::limits::{MAX_CLIENT_INFO, MAX_PACKET, MAX_PING, MAX_SERVER_INFO};

/// Bytes of type and length in front of every payload.
pub const HEADER_LEN: usize = 5;
/// Bytes of a key.
pub const KEY_LEN: usize = 32;
/// Bytes of the nonce of a sealed box.
pub const NONCE_LEN: usize = 24;
/// What a ServerKey frame begins with: "DERP" and U+1F511.
pub const MAGIC: [u8; 8] = [0x44, 0x45, 0x52, 0x50, 0xf0, 0x9f, 0x94, 0x91];
/// What a disco packet begins with: "TS" and U+1F4AC.
pub const DISCO_MAGIC: [u8; 6] = [0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac];

/// The type bytes.
pub mod kind {
    #![allow(missing_docs, reason = "the names are those of the protocol and say all there is")]
    pub const SERVER_KEY: u8 = 0x01;
    pub const CLIENT_INFO: u8 = 0x02;
    pub const SERVER_INFO: u8 = 0x03;
    pub const SEND_PACKET: u8 = 0x04;
    pub const RECV_PACKET: u8 = 0x05;
    pub const KEEP_ALIVE: u8 = 0x06;
    pub const NOTE_PREFERRED: u8 = 0x07;
    pub const PEER_GONE: u8 = 0x08;
    pub const PEER_PRESENT: u8 = 0x09;
    pub const FORWARD_PACKET: u8 = 0x0a;
    pub const WATCH_CONNS: u8 = 0x10;
    pub const CLOSE_PEER: u8 = 0x11;
    pub const PING: u8 = 0x12;
    pub const PONG: u8 = 0x13;
    pub const HEALTH: u8 = 0x14;
    pub const RESTARTING: u8 = 0x15;
}

/// Why a peer is said to be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoneReason {
    /// It was connected here and has left.
    Disconnected,
    /// It is not connected here.
    NotHere,
    /// A number that this version does not know.
    Other(u8),
}

/// What is known of a peer that is present; mesh relays tell each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Where it connected from, if said.
    pub addr: Option<SocketAddr>,
    /// Bits: 1 regular, 2 mesh peer, 4 prober, 8 not on its ideal relay.
    pub flags: u8,
}

/// One frame. Packets and texts are borrowed from the bytes it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The server's public key: the first frame of every connection.
    ServerKey(NodeKey),
    /// Who the client is: its public key, a nonce, and a sealed [`crate::ClientInfo`].
    ClientInfo(NodeKey, [u8; NONCE_LEN], &'a [u8]),
    /// The server's answer: a nonce and a sealed [`crate::ServerInfo`].
    ServerInfo([u8; NONCE_LEN], &'a [u8]),
    /// A packet for another node.
    SendPacket(NodeKey, &'a [u8]),
    /// A packet from another node.
    RecvPacket(NodeKey, &'a [u8]),
    /// Nothing; shows that the server lives.
    KeepAlive,
    /// Whether this relay is the client's home.
    NotePreferred(bool),
    /// A peer cannot be reached here.
    PeerGone(NodeKey, GoneReason),
    /// A peer is connected here.
    PeerPresent(NodeKey, Presence),
    /// A packet between nodes of two relays of a mesh: source, destination, content.
    ForwardPacket(NodeKey, NodeKey, &'a [u8]),
    /// A mesh relay asks to be told who is present.
    WatchConns,
    /// A mesh relay asks to disconnect a peer.
    ClosePeer(NodeKey),
    /// Asks for a [`Frame::Pong`] with the same eight bytes.
    Ping([u8; 8]),
    /// Answers a [`Frame::Ping`].
    Pong([u8; 8]),
    /// Tells the client of a problem with its connection; empty when it is over.
    Health(&'a str),
    /// The server is about to restart: milliseconds to wait before reconnecting, and to go on trying.
    Restarting(u32, u32),
    /// A type that this version does not know, to be skipped.
    Unknown(u8, &'a [u8]),
}

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A frame of this type announces more bytes than it may have, or too few.
    Length(u8, u32),
    /// The payload of a frame of this type is not what it must be.
    Payload(u8),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Length(kind, len) => {
                write!(f, "relay frame of type `{kind:#04x}` cannot have `{len}` bytes")
            }
            Malformed::Payload(kind) => write!(f, "relay frame of type `{kind:#04x}` has a bad payload"),
        }
    }
}

impl std::error::Error for Malformed {}

/// Type and length of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The type byte; see [`kind`].
    pub kind: u8,
    /// Bytes of the payload.
    pub len: u32,
}

impl Header {
    /// Reads the header at the front of `bytes`; None if it is not all there.
    pub fn read(bytes: &[u8]) -> Option<Header> {
        let &[kind, a, b, c, d] = bytes.first_chunk::<HEADER_LEN>()?;
        Some(Header { kind, len: u32::from_be_bytes([a, b, c, d]) })
    }

    /// The bytes of this header.
    pub fn bytes(self) -> [u8; HEADER_LEN] {
        let [a, b, c, d] = self.len.to_be_bytes();
        [self.kind, a, b, c, d]
    }

    /// Checks the length against what this type allows. None for a type that this version does not know.
    pub fn check(self) -> Option<Result<(), Malformed>> {
        let (least, most) = match self.kind {
            kind::SERVER_KEY => (MAGIC.len() + KEY_LEN, 1024),
            kind::CLIENT_INFO => (KEY_LEN + NONCE_LEN, MAX_CLIENT_INFO),
            kind::SERVER_INFO => (NONCE_LEN, MAX_SERVER_INFO),
            kind::SEND_PACKET | kind::RECV_PACKET => (KEY_LEN, KEY_LEN + MAX_PACKET),
            kind::KEEP_ALIVE | kind::WATCH_CONNS => (0, 0),
            kind::NOTE_PREFERRED => (1, 1),
            kind::PEER_GONE | kind::PEER_PRESENT => (KEY_LEN, 1024),
            kind::FORWARD_PACKET => (2 * KEY_LEN, 2 * KEY_LEN + MAX_PACKET),
            kind::CLOSE_PEER => (KEY_LEN, KEY_LEN),
            kind::PING | kind::PONG => (8, MAX_PING),
            kind::HEALTH => (0, MAX_PACKET),
            kind::RESTARTING => (8, 8),
            _ => return None,
        };
        let fits = (least..=most).contains(&(self.len as usize));
        Some(if fits { Ok(()) } else { Err(Malformed::Length(self.kind, self.len)) })
    }
}

impl<'a> Frame<'a> {
    /// Reads the frame at the front of `bytes`, and says how many bytes it has; None while it is incomplete.
    ///
    /// An unknown type may have up to [`MAX_SERVER_INFO`] bytes. Errors: a length or payload that its type forbids,
    /// as soon as it shows.
    pub fn decode(bytes: &'a [u8]) -> Result<Option<(Frame<'a>, usize)>, Malformed> {
        let Some(header) = Header::read(bytes) else { return Ok(None) };
        match header.check() {
            Some(checked) => checked?,
            None if header.len as usize > MAX_SERVER_INFO => {
                return Err(Malformed::Length(header.kind, header.len));
            }
            None => {}
        }
        let end = HEADER_LEN + header.len as usize;
        let Some(payload) = bytes.get(HEADER_LEN..end) else { return Ok(None) };
        let frame = Frame::parse(header.kind, payload).ok_or(Malformed::Payload(header.kind))?;
        Ok(Some((frame, end)))
    }

    /// Reads a whole payload; None if it is not what the type must have.
    fn parse(kind: u8, payload: &'a [u8]) -> Option<Frame<'a>> {
        Some(match kind {
            kind::SERVER_KEY => {
                let (magic, rest) = payload.split_first_chunk::<8>()?;
                let (key, _) = split_key(rest)?;
                if *magic != MAGIC {
                    return None;
                }
                Frame::ServerKey(key)
            }
            kind::CLIENT_INFO => {
                let (key, rest) = split_key(payload)?;
                let (nonce, sealed) = rest.split_first_chunk()?;
                Frame::ClientInfo(key, *nonce, sealed)
            }
            kind::SERVER_INFO => {
                let (nonce, sealed) = payload.split_first_chunk()?;
                Frame::ServerInfo(*nonce, sealed)
            }
            kind::SEND_PACKET => split_key(payload).map(|(key, packet)| Frame::SendPacket(key, packet))?,
            kind::RECV_PACKET => split_key(payload).map(|(key, packet)| Frame::RecvPacket(key, packet))?,
            kind::KEEP_ALIVE => Frame::KeepAlive,
            kind::NOTE_PREFERRED => Frame::NotePreferred(*payload.first()? != 0),
            kind::PEER_GONE => {
                let (key, rest) = split_key(payload)?;
                Frame::PeerGone(key, GoneReason::from_byte(rest.first().copied().unwrap_or(0)))
            }
            kind::PEER_PRESENT => {
                let (key, rest) = split_key(payload)?;
                Frame::PeerPresent(key, Presence::read(rest))
            }
            kind::FORWARD_PACKET => {
                let (src, rest) = split_key(payload)?;
                let (dst, packet) = split_key(rest)?;
                Frame::ForwardPacket(src, dst, packet)
            }
            kind::WATCH_CONNS => Frame::WatchConns,
            kind::CLOSE_PEER => Frame::ClosePeer(split_key(payload)?.0),
            kind::PING => Frame::Ping(*payload.first_chunk()?),
            kind::PONG => Frame::Pong(*payload.first_chunk()?),
            kind::HEALTH => Frame::Health(std::str::from_utf8(payload).ok()?),
            kind::RESTARTING => {
                let &[a, b, c, d, e, f, g, h] = payload.first_chunk()?;
                Frame::Restarting(u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
            }
            _ => Frame::Unknown(kind, payload),
        })
    }

    /// Appends this frame to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        use kind::*;
        match self {
            Frame::ServerKey(key) => append(out, SERVER_KEY, &[&MAGIC, key.bytes()]),
            Frame::ClientInfo(key, nonce, sealed) => append(out, CLIENT_INFO, &[key.bytes(), nonce, sealed]),
            Frame::ServerInfo(nonce, sealed) => append(out, SERVER_INFO, &[nonce, sealed]),
            Frame::SendPacket(dst, packet) => append(out, SEND_PACKET, &[dst.bytes(), packet]),
            Frame::RecvPacket(src, packet) => append(out, RECV_PACKET, &[src.bytes(), packet]),
            Frame::KeepAlive => append(out, KEEP_ALIVE, &[]),
            Frame::NotePreferred(home) => append(out, NOTE_PREFERRED, &[&[u8::from(*home)]]),
            Frame::PeerGone(peer, why) => append(out, PEER_GONE, &[peer.bytes(), &[why.byte()]]),
            Frame::PeerPresent(peer, presence) => {
                append(out, PEER_PRESENT, &[peer.bytes(), &presence.bytes()]);
            }
            Frame::ForwardPacket(src, dst, packet) => {
                append(out, FORWARD_PACKET, &[src.bytes(), dst.bytes(), packet]);
            }
            Frame::WatchConns => append(out, WATCH_CONNS, &[]),
            Frame::ClosePeer(peer) => append(out, CLOSE_PEER, &[peer.bytes()]),
            Frame::Ping(data) => append(out, PING, &[data]),
            Frame::Pong(data) => append(out, PONG, &[data]),
            Frame::Health(text) => append(out, HEALTH, &[text.as_bytes()]),
            Frame::Restarting(reconnect_in, try_for) => {
                append(out, RESTARTING, &[&reconnect_in.to_be_bytes(), &try_for.to_be_bytes()]);
            }
            Frame::Unknown(kind, payload) => append(out, *kind, &[payload]),
        }
    }

    /// This frame alone.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }
}

impl GoneReason {
    fn from_byte(byte: u8) -> GoneReason {
        match byte {
            0 => GoneReason::Disconnected,
            1 => GoneReason::NotHere,
            other => GoneReason::Other(other),
        }
    }

    fn byte(self) -> u8 {
        match self {
            GoneReason::Disconnected => 0,
            GoneReason::NotHere => 1,
            GoneReason::Other(other) => other,
        }
    }
}

impl Presence {
    /// Old relays send neither address nor flags, so whatever is missing counts as not said.
    fn read(bytes: &[u8]) -> Presence {
        let Some((ip, rest)) = bytes.split_first_chunk::<16>() else {
            return Presence { addr: None, flags: 0 };
        };
        let Some((port, rest)) = rest.split_first_chunk::<2>() else {
            return Presence { addr: None, flags: 0 };
        };
        let ip = Ipv6Addr::from(*ip).to_canonical();
        let addr = SocketAddr::new(ip, u16::from_be_bytes(*port));
        Presence { addr: Some(addr), flags: rest.first().copied().unwrap_or(0) }
    }

    fn bytes(self) -> [u8; 19] {
        let mut bytes = [0; 19];
        if let Some(addr) = self.addr {
            let ip = match addr.ip() {
                std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                std::net::IpAddr::V6(ip) => ip,
            };
            bytes[..16].copy_from_slice(&ip.octets());
            bytes[16..18].copy_from_slice(&addr.port().to_be_bytes());
        }
        bytes[18] = self.flags;
        bytes
    }
}

/// Whether a packet is one of the messages by which nodes look for a direct path.
pub fn is_disco(packet: &[u8]) -> bool {
    packet.starts_with(&DISCO_MAGIC) && packet.len() >= DISCO_MAGIC.len() + KEY_LEN + NONCE_LEN
}

fn split_key(bytes: &[u8]) -> Option<(NodeKey, &[u8])> {
    let (key, rest) = bytes.split_first_chunk::<KEY_LEN>()?;
    Some((NodeKey::from_bytes(*key), rest))
}

fn append(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    let len = parts.iter().map(|part| part.len()).sum::<usize>();
    out.reserve(HEADER_LEN + len);
    out.extend_from_slice(&Header { kind, len: u32::try_from(len).unwrap_or(u32::MAX) }.bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
}
