//! The early payload, which a server may send between the handshake and HTTP/2.
//!
//! Its format is `FF FF FF 'T' 'S' | u32 length | JSON`. No HTTP/2 frame starts with these bytes, so a client can tell
//! whether there is an early payload. Mirrors `control/ts2021/conn.go`.

/// Maximum length in bytes of the JSON that [`decode`] accepts. The Go client accepts 10 MiB, the Rust client 1 KiB; real
/// payloads have about 90 bytes.
pub const MAX_LEN: usize = 64 * 1024;

const MAGIC: [u8; 5] = [0xff, 0xff, 0xff, b'T', b'S'];
const HEADER_LEN: usize = MAGIC.len() + 4;

/// What a server's stream starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Early<'a> {
    /// HTTP/2; there is no early payload.
    Absent,
    /// Too few bytes to tell, or an incomplete early payload.
    Incomplete,
    /// An early payload.
    Payload {
        /// The JSON text.
        json: &'a [u8],
        /// Length of the whole payload in bytes, which is where HTTP/2 begins.
        len: usize,
    },
    /// An early payload longer than [`MAX_LEN`].
    TooLong,
}

/// Encodes an early payload with this JSON text.
pub fn encode(json: &[u8]) -> Vec<u8> {
    let len = u32::try_from(json.len()).unwrap_or(u32::MAX);
    [&MAGIC, len.to_be_bytes().as_slice(), json].concat()
}

/// Looks for an early payload at the start of a server's decrypted stream.
pub fn decode(stream: &[u8]) -> Early<'_> {
    if stream.iter().zip(&MAGIC).any(|(byte, expected)| byte != expected) {
        return Early::Absent;
    }
    let Some((header, rest)) = stream.split_first_chunk::<HEADER_LEN>() else { return Early::Incomplete };
    let len = u32::from_be_bytes([header[5], header[6], header[7], header[8]]) as usize;
    if len > MAX_LEN {
        return Early::TooLong;
    }
    match rest.get(..len) {
        Some(json) => Early::Payload { json, len: HEADER_LEN + len },
        None => Early::Incomplete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_early_payload_is_found_once_it_is_complete() {
        let stream = [&encode(b"{}")[..], b"PRI * HTTP/2.0"].concat();
        for cut in 0..stream.len() {
            let found = decode(&stream[..cut]);
            if cut < 11 {
                assert_eq!(found, Early::Incomplete);
            } else {
                assert_eq!(found, Early::Payload { json: b"{}", len: 11 });
            }
        }
    }

    #[test]
    fn http2_is_not_an_early_payload() {
        assert_eq!(decode(&[0, 0, 18, 4, 0, 0, 0, 0, 0]), Early::Absent);
        assert_eq!(decode(&[0xff, 0xff, 0xff, b'T', b'T']), Early::Absent);
        assert_eq!(decode(&[0xff, 0xff, 0]), Early::Absent);
    }

    #[test]
    fn an_oversized_payload_is_rejected_by_its_header() {
        assert_eq!(decode(&[0xff, 0xff, 0xff, b'T', b'S', 0, 1, 0, 1]), Early::TooLong);
    }
}
