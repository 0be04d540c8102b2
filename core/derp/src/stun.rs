//! The subset of STUN (RFC 5389) that clients use: a binding request, and a response with the sender's own address.
//!
//! Only requests in the form that Tailscale clients send are valid, which makes the server useless for amplification
//! attacks with forged source addresses. Mirrors `net/stun/stun.go`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The transaction id, which a response copies from its request.
pub type TxId = [u8; 12];

/// Length of a request in bytes.
pub const REQUEST_LEN: usize = HEADER_LEN + 4 + SOFTWARE.len() + FINGERPRINT_LEN;
/// Length of the longest response in bytes.
pub const MAX_RESPONSE: usize = HEADER_LEN + 4 + 20;

const HEADER_LEN: usize = 20;
const FINGERPRINT_LEN: usize = 8;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const SOFTWARE: [u8; 8] = *b"tailnode";
const ATTR_SOFTWARE: u16 = 0x8022;
const ATTR_FINGERPRINT: u16 = 0x8028;
const ATTR_XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// Used by servers that implement a draft of the RFC.
const ATTR_XOR_MAPPED_ADDRESS_DRAFT: u16 = 0x8020;

/// An encoded response, stored without allocation.
#[derive(Clone, Copy)]
pub struct Response {
    bytes: [u8; MAX_RESPONSE],
    len: usize,
}

impl Response {
    /// The content of the datagram.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Encodes a client's request.
pub fn request(tx: &TxId) -> Vec<u8> {
    let mut out = Vec::with_capacity(REQUEST_LEN);
    out.extend_from_slice(&BINDING_REQUEST);
    out.extend_from_slice(&((REQUEST_LEN - HEADER_LEN) as u16).to_be_bytes());
    out.extend_from_slice(&COOKIE);
    out.extend_from_slice(tx);
    out.extend_from_slice(&ATTR_SOFTWARE.to_be_bytes());
    out.extend_from_slice(&(SOFTWARE.len() as u16).to_be_bytes());
    out.extend_from_slice(&SOFTWARE);
    let print = fingerprint(&out);
    out.extend_from_slice(&ATTR_FINGERPRINT.to_be_bytes());
    out.extend_from_slice(&4u16.to_be_bytes());
    out.extend_from_slice(&print.to_be_bytes());
    out
}

/// Parses a binding request that has the clients' SOFTWARE attribute and ends with a correct FINGERPRINT. `None` for
/// anything else.
pub fn parse_request(packet: &[u8]) -> Option<TxId> {
    let (kind, tx, attributes) = split(packet)?;
    if kind != BINDING_REQUEST {
        return None;
    }
    let mut software = false;
    let mut last = None;
    for attribute in Attributes(attributes) {
        let (kind, value) = attribute?;
        software |= kind == ATTR_SOFTWARE && value == SOFTWARE;
        last = Some((kind, value));
    }
    let (ATTR_FINGERPRINT, print) = last? else { return None };
    let signed = packet.get(..packet.len().checked_sub(FINGERPRINT_LEN)?)?;
    let correct = print == fingerprint(signed).to_be_bytes();
    (software && correct).then_some(tx)
}

/// Encodes the response to a sender. An IPv4-mapped IPv6 address is reported as IPv4.
pub fn response(tx: &TxId, sender: SocketAddr) -> Response {
    let mut body = [0; 20];
    let port = sender.port() ^ u16::from_be_bytes([COOKIE[0], COOKIE[1]]);
    body[2..4].copy_from_slice(&port.to_be_bytes());
    let len = match sender.ip().to_canonical() {
        IpAddr::V4(ip) => {
            body[1] = 1;
            put_xored(&mut body[4..8], &ip.octets(), tx);
            8
        }
        IpAddr::V6(ip) => {
            body[1] = 2;
            put_xored(&mut body[4..20], &ip.octets(), tx);
            20
        }
    };
    let mut bytes = [0; MAX_RESPONSE];
    bytes[..2].copy_from_slice(&BINDING_SUCCESS);
    bytes[2..4].copy_from_slice(&(4 + len as u16).to_be_bytes());
    bytes[4..8].copy_from_slice(&COOKIE);
    bytes[8..20].copy_from_slice(tx);
    bytes[20..22].copy_from_slice(&ATTR_XOR_MAPPED_ADDRESS.to_be_bytes());
    bytes[22..24].copy_from_slice(&(len as u16).to_be_bytes());
    bytes[24..].copy_from_slice(&body);
    Response { bytes, len: HEADER_LEN + 4 + len }
}

/// Parses a response: its transaction id and the address it reports. Bytes after the announced length are ignored.
pub fn parse_response(packet: &[u8]) -> Option<(TxId, SocketAddr)> {
    let announced = packet.get(2..4)?.first_chunk::<2>()?;
    let end = HEADER_LEN + usize::from(u16::from_be_bytes(*announced));
    let (kind, tx, attributes) = split(packet.get(..end)?)?;
    if kind != BINDING_SUCCESS {
        return None;
    }
    for attribute in Attributes(attributes) {
        let (kind, value) = attribute?;
        if kind == ATTR_XOR_MAPPED_ADDRESS || kind == ATTR_XOR_MAPPED_ADDRESS_DRAFT {
            return Some((tx, mapped_address(value, &tx)?));
        }
    }
    None
}

fn mapped_address(value: &[u8], tx: &TxId) -> Option<SocketAddr> {
    let (&[_, family, high, low], rest) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([high ^ COOKIE[0], low ^ COOKIE[1]]);
    let ip = match family {
        1 => {
            let mut octets = [0; 4];
            put_xored(&mut octets, rest.first_chunk::<4>()?, tx);
            IpAddr::from(Ipv4Addr::from(octets))
        }
        2 => {
            let mut octets = [0; 16];
            put_xored(&mut octets, rest.first_chunk::<16>()?, tx);
            IpAddr::from(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

/// Writes an address XORed with the magic cookie and the transaction id.
fn put_xored(out: &mut [u8], address: &[u8], tx: &TxId) {
    for ((out, byte), mask) in out.iter_mut().zip(address).zip(COOKIE.iter().chain(tx)) {
        *out = byte ^ mask;
    }
}

/// Splits a message into its type, transaction id and attributes. `None` if its length is not the announced one.
fn split(packet: &[u8]) -> Option<([u8; 2], TxId, &[u8])> {
    let (header, attributes) = packet.split_first_chunk::<HEADER_LEN>()?;
    let announced = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if announced != attributes.len() || header[4..8] != COOKIE {
        return None;
    }
    let tx = header.last_chunk::<12>()?;
    Some(([header[0], header[1]], *tx, attributes))
}

/// The attributes of a message, one by one. Bytes that are not an attribute yield a single `None` and end the iteration.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = Option<(u16, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = std::mem::take(&mut self.0);
        if bytes.is_empty() {
            return None;
        }
        let Some((&[a, b, c, d], rest)) = bytes.split_first_chunk::<4>() else { return Some(None) };
        let len = usize::from(u16::from_be_bytes([c, d]));
        let (Some(value), Some(after)) = (rest.get(..len), rest.get(len.next_multiple_of(4)..)) else {
            return Some(None);
        };
        self.0 = after;
        Some(Some((u16::from_be_bytes([a, b]), value)))
    }
}

fn fingerprint(bytes: &[u8]) -> u32 {
    crc32(bytes) ^ 0x5354_554e
}

/// The CRC-32 of Ethernet and zip, one byte at a time.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = crc32_table();
    !bytes.iter().fold(!0, |crc: u32, &byte| {
        // The index is a byte, so the compiler drops the bounds check.
        let entry = TABLE.get(usize::from(crc as u8 ^ byte)).copied().unwrap_or_default();
        (crc >> 8) ^ entry
    })
}

const fn crc32_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut rest = table.as_mut_slice();
    let mut byte = 0;
    while let Some((entry, tail)) = rest.split_first_mut() {
        let mut crc = byte;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        *entry = crc;
        byte += 1;
        rest = tail;
    }
    table
}
