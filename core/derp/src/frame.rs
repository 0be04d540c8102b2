//! Encoding and decoding of frames, for servers and clients: `u8 type | u32 length | payload` (see `derp/derp.go`).

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};

use headsail_wire::keys::NodeKey;

use crate::limits::{MAX_CLIENT_INFO, MAX_PACKET, MAX_PING, MAX_SERVER_INFO};

/// Length in bytes of a frame's header: type and length.
pub const HEADER_LEN: usize = 5;
/// Length in bytes of a key.
pub const KEY_LEN: usize = 32;
/// Length in bytes of the nonce of a sealed box.
pub const NONCE_LEN: usize = 24;
/// The start of a ServerKey frame: "DERP" and U+1F511.
pub const MAGIC: [u8; 8] = [0x44, 0x45, 0x52, 0x50, 0xf0, 0x9f, 0x94, 0x91];
/// The start of a disco packet: "TS" and U+1F4AC.
pub const DISCO_MAGIC: [u8; 6] = [0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac];

/// Frame types.
pub mod kind {
    #![allow(missing_docs, reason = "the names are those of the protocol; see `Frame`")]
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

/// Why a peer is reported as gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoneReason {
    /// It was connected to this relay and has disconnected.
    Disconnected,
    /// It is not connected to this relay.
    NotHere,
    /// A reason that this version does not know.
    Other(u8),
}

/// What mesh relays tell each other about a connected peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The address it connected from, if known.
    pub addr: Option<SocketAddr>,
    /// Bit flags: 1 for a regular client, 2 for a mesh relay, 4 for a prober, 8 if it is not on its ideal relay.
    pub flags: u8,
}

/// A frame. Packets and texts are borrowed from the bytes it was decoded from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The server's public key: the first frame of every connection.
    ServerKey(NodeKey),
    /// The client's introduction: its public key, a nonce, and a sealed [`crate::ClientInfo`].
    ClientInfo(NodeKey, [u8; NONCE_LEN], &'a [u8]),
    /// The server's response to it: a nonce and a sealed [`crate::ServerInfo`].
    ServerInfo([u8; NONCE_LEN], &'a [u8]),
    /// Client to server: a packet for the node with this key.
    SendPacket(NodeKey, &'a [u8]),
    /// Server to client: a packet from the node with this key.
    RecvPacket(NodeKey, &'a [u8]),
    /// Shows that the server is alive.
    KeepAlive,
    /// Whether this relay is the client's home relay.
    NotePreferred(bool),
    /// The peer with this key cannot be reached through this relay.
    PeerGone(NodeKey, GoneReason),
    /// The peer with this key is connected to this relay. Only mesh relays receive it.
    PeerPresent(NodeKey, Presence),
    /// A packet from one mesh relay to another: source, destination, content.
    ForwardPacket(NodeKey, NodeKey, &'a [u8]),
    /// A mesh relay subscribes to connecting and disconnecting peers.
    WatchConns,
    /// A mesh relay asks the server to disconnect the peer with this key.
    ClosePeer(NodeKey),
    /// Asks for a [`Frame::Pong`] with the same eight bytes.
    Ping([u8; 8]),
    /// Answers a [`Frame::Ping`].
    Pong([u8; 8]),
    /// Reports a problem with the client's connection; empty once it is resolved.
    Health(&'a str),
    /// The server is about to restart: milliseconds to wait before reconnecting, and milliseconds to keep trying.
    Restarting(u32, u32),
    /// A frame of a type that this version does not know and ignores.
    Unknown(u8, &'a [u8]),
}

/// Why bytes are not a valid frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The frame's type and announced length, which is out of range for the type.
    Length(u8, u32),
    /// The type of the frame, whose payload is invalid.
    Payload(u8),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Length(kind, len) => {
                write!(f, "relay frame of type `{kind:#04x}` cannot have `{len}` bytes")
            }
            Malformed::Payload(kind) => write!(f, "relay frame of type `{kind:#04x}` has an invalid payload"),
        }
    }
}

impl std::error::Error for Malformed {}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The type byte; see [`kind`].
    pub kind: u8,
    /// Length of the payload in bytes.
    pub len: u32,
}

impl Header {
    /// Reads the header at the front of `bytes`; `None` if it is incomplete.
    pub fn read(bytes: &[u8]) -> Option<Header> {
        let &[kind, a, b, c, d] = bytes.first_chunk::<HEADER_LEN>()?;
        Some(Header { kind, len: u32::from_be_bytes([a, b, c, d]) })
    }

    /// The encoded header.
    pub fn bytes(self) -> [u8; HEADER_LEN] {
        let [a, b, c, d] = self.len.to_be_bytes();
        [self.kind, a, b, c, d]
    }

    /// Checks that the length is valid for the type. `None` for a type that this version does not know.
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
    /// Decodes the frame at the front of `bytes` and returns it with its length in bytes; `None` if it is incomplete.
    ///
    /// A frame of unknown type may have up to [`MAX_SERVER_INFO`] bytes. Errors: a length or payload that is invalid for
    /// the type. A length is checked as soon as the header is complete.
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

    /// Parses a whole payload; `None` if it is invalid for the type.
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
            Frame::PeerGone(peer, reason) => append(out, PEER_GONE, &[peer.bytes(), &[reason.byte()]]),
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

    /// The encoded frame.
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
    /// Old relays send neither address nor flags, so what is missing is taken to be unknown.
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

/// Whether a packet is a disco message, with which nodes discover direct paths.
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
