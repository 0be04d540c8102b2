//! The early payload: what a server may say between the handshake and HTTP/2.
//!
//! `FF FF FF 'T' 'S' | u32 length | JSON`. The first bytes could not begin an HTTP/2 frame, which is how a client tells
//! whether there is one. Mirrors `control/ts2021/conn.go`.

/// Most bytes of JSON that [`decode`] accepts. The Go client takes 10 MiB, the Rust client 1 KiB; a real one has 90.
pub const MAX_LEN: usize = 64 * 1024;

const MAGIC: [u8; 5] = [0xff, 0xff, 0xff, b'T', b'S'];
const HEADER_LEN: usize = MAGIC.len() + 4;

/// What the first bytes of a server's stream are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Early<'a> {
    /// HTTP/2 begins at once.
    Absent,
    /// More bytes are needed to tell.
    Incomplete,
    /// An early payload.
    Payload {
        /// Its JSON text.
        json: &'a [u8],
        /// Where HTTP/2 begins.
        len: usize,
    },
    /// An early payload beyond [`MAX_LEN`].
    TooLong,
}

/// Frames the JSON text of an early payload.
pub fn encode(json: &[u8]) -> Vec<u8> {
    let len = u32::try_from(json.len()).unwrap_or(u32::MAX);
    [&MAGIC, len.to_be_bytes().as_slice(), json].concat()
}

/// Looks for an early payload at the start of a server's decrypted stream.
pub fn decode(stream: &[u8]) -> Early<'_> {
    if stream.iter().zip(&MAGIC).any(|(is, ought)| is != ought) {
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
    fn a_payload_is_found_wherever_the_stream_is_cut() {
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
    fn http2_is_no_payload() {
        assert_eq!(decode(&[0, 0, 18, 4, 0, 0, 0, 0, 0]), Early::Absent);
        assert_eq!(decode(&[0xff, 0xff, 0xff, b'T', b'T']), Early::Absent);
        assert_eq!(decode(&[0xff, 0xff, 0]), Early::Absent);
    }

    #[test]
    fn a_huge_payload_is_refused_by_its_header() {
        assert_eq!(decode(&[0xff, 0xff, 0xff, b'T', b'S', 0, 1, 0, 1]), Early::TooLong);
    }
}
