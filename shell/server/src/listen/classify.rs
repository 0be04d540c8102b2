//! Road 1: what a connection is. Decided here and nowhere else, from its first bytes and from the heads of requests; no IO.
//!
//! A connection begins as one of [`Connection`]. A request that arrives over HTTP may turn its connection into one of
//! [`Upgrade`].

use http::Method;
use http::header::{HeaderMap, UPGRADE};

/// The bytes with which an HTTP/2 client begins (RFC 9113, 3.4).
pub const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The value of `Upgrade` that asks for the control protocol.
pub const CONTROL_PROTOCOL: &str = "tailscale-control-protocol";
/// First byte of a TLS handshake (RFC 8446, 5.1). No HTTP method begins with it.
const TLS_HANDSHAKE: u8 = 22;
/// Longest head of a request that is read before it is left to the HTTP server, in bytes.
const MAX_HEAD: usize = 8 * 1024;
/// Headers in such a head; one with more is no fast start.
const MAX_HEADERS: usize = 32;
/// How a request for the relay begins; the crate `tailscale` sends POST.
const DERP_REQUESTS: [&[u8]; 2] = [b"GET /derp ", b"POST /derp "];
const DERP_PATH: &str = "/derp";
const CONTROL_PATH: &str = "/ts2021";

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// A TLS handshake; what is inside has to be classified again.
    Tls,
    /// HTTP/1 or HTTP/2, or something that the HTTP server will refuse.
    Http,
    /// A request for the relay that takes no response: DERP frames begin after `head` bytes.
    DerpFastStart { head: usize },
}

/// What a listener accepts besides HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepts {
    pub tls: bool,
    pub derp: bool,
}

/// Classifies a connection by the bytes that it began with. `None` asks for more bytes: all of the head of what may be a
/// request for the relay, all of what may be the preface of HTTP/2, and no more than the first bytes of anything else.
pub fn connection(begins: &[u8], accepts: Accepts) -> Option<Connection> {
    if accepts.tls && begins.first() == Some(&TLS_HANDSHAKE) {
        return Some(Connection::Tls);
    }
    if begins.len() < HTTP2_PREFACE.len() && HTTP2_PREFACE.starts_with(begins) {
        return None;
    }
    let may_be = |request: &[u8]| request.starts_with(begins) || begins.starts_with(request);
    if !accepts.derp || !DERP_REQUESTS.into_iter().any(may_be) {
        return Some(Connection::Http);
    }
    let Some(head) = end_of_head(begins) else {
        return (begins.len() >= MAX_HEAD).then_some(Connection::Http);
    };
    Some(if is_fast_start(begins) { Connection::DerpFastStart { head } } else { Connection::Http })
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4)
}

/// Whether a head asks for the relay and wants no response (`Derp-Fast-Start` in derp/derphttp): its client knows the
/// relay's key from the TLS certificates.
fn is_fast_start(head: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(_)) = request.parse(head) else { return false };
    let has = |name: &str, value: &[u8]| {
        let mut headers = request.headers.iter();
        headers.any(|h| h.name.eq_ignore_ascii_case(name) && h.value.eq_ignore_ascii_case(value))
    };
    request.path == Some(DERP_PATH) && has("Derp-Fast-Start", b"1") && has("Upgrade", b"derp")
}

/// What a connection becomes after the response to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// DERP frames. The method does not matter, as with the official relay.
    Derp,
    /// A WebSocket that carries DERP frames.
    DerpWebSocket,
    /// Noise records of the control protocol.
    Control,
    /// A WebSocket that carries them.
    ControlWebSocket,
}

/// Classifies a request by its head. `None` is a request that leaves its connection as it is. A fast start that arrives
/// here did not begin its connection: it is answered like any other.
pub fn upgrade(method: &Method, path: &str, headers: &HeaderMap) -> Option<Upgrade> {
    let protocol = headers.get(UPGRADE).map(|value| value.as_bytes()).unwrap_or_default();
    let asks_for = |name: &str| protocol.eq_ignore_ascii_case(name.as_bytes());
    let websocket = asks_for("websocket") && method == Method::GET;
    match path {
        DERP_PATH if asks_for("derp") => Some(Upgrade::Derp),
        DERP_PATH if websocket => Some(Upgrade::DerpWebSocket),
        CONTROL_PATH if asks_for(CONTROL_PROTOCOL) && method == Method::POST => Some(Upgrade::Control),
        CONTROL_PATH if websocket => Some(Upgrade::ControlWebSocket),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Accepts = Accepts { tls: true, derp: true };
    const HTTP_ONLY: Accepts = Accepts { tls: false, derp: false };
    const FAST_START: &str =
        "GET /derp HTTP/1.1\r\nHost: x\r\nupgrade: DERP\r\nConnection: Upgrade\r\nDERP-FAST-START: 1\r\n\r\n";

    #[test]
    fn the_first_byte_tells_tls_from_http() {
        assert_eq!(connection(&[22], ALL), Some(Connection::Tls));
        assert_eq!(connection(&[22, 3, 1, 2, 0], ALL), Some(Connection::Tls));
        assert_eq!(connection(&[22], HTTP_ONLY), Some(Connection::Http), "the HTTP server refuses it");
        assert_eq!(connection(b"", ALL), None);
    }

    #[test]
    fn a_fast_start_is_recognised_once_its_head_is_complete() {
        for end in 0..FAST_START.len() {
            assert_eq!(connection(&FAST_START.as_bytes()[..end], ALL), None, "{end}");
        }
        let head = FAST_START.len();
        let is_fast_start = Some(Connection::DerpFastStart { head });
        assert_eq!(connection(FAST_START.as_bytes(), ALL), is_fast_start);
        let with_frames = [FAST_START.as_bytes(), b"\x02\0\0\0\x48"].concat();
        assert_eq!(connection(&with_frames, ALL), is_fast_start);
        assert_eq!(connection(FAST_START.as_bytes(), HTTP_ONLY), Some(Connection::Http), "no relay runs");
    }

    #[test]
    fn only_a_request_for_the_relay_with_both_headers_is_a_fast_start() {
        let post = FAST_START.replace("GET", "POST");
        assert_eq!(connection(post.as_bytes(), ALL), Some(Connection::DerpFastStart { head: post.len() }));
        for head in [
            FAST_START.replace("GET", "PUT"),
            FAST_START.replace("/derp ", "/derp/probe "),
            FAST_START.replace("/derp ", "/derp?x=1 "),
            FAST_START.replace("DERP\r\n", "websocket\r\n"),
            FAST_START.replace("START: 1", "START: 0"),
            FAST_START.replace("DERP-FAST-START: 1\r\n", ""),
            FAST_START.replace("Host: x\r\n", &"a: b\r\n".repeat(MAX_HEADERS)),
            FAST_START.replace("Host: x", "a header without a value"),
        ] {
            assert_eq!(connection(head.as_bytes(), ALL), Some(Connection::Http), "{head}");
        }
    }

    #[test]
    fn no_more_is_read_than_it_takes_to_decide() {
        for first in ["G", "GET", "GET /derp", "P", "POST /derp ", "PRI * HTTP/2.0\r\n\r\n"] {
            assert_eq!(connection(first.as_bytes(), ALL), None, "{first}");
        }
        for first in ["X", "GET /k", "GET /derpy", "POST /m", "PRI * HTTP/1.1", "\r\n"] {
            assert_eq!(connection(first.as_bytes(), ALL), Some(Connection::Http), "{first}");
        }
        assert_eq!(connection(b"GET /derp ", HTTP_ONLY), Some(Connection::Http));
        assert_eq!(connection(b"PRI", HTTP_ONLY), None);
        assert_eq!(connection(HTTP2_PREFACE, ALL), Some(Connection::Http));
        let endless = [b"GET /derp ", &[b'x'; MAX_HEAD][..]].concat();
        assert_eq!(connection(&endless, ALL), Some(Connection::Http), "a head has a limit");
    }

    #[test]
    fn requests_turn_connections_into_what_they_ask_for() {
        let (get, post) = (Method::GET, Method::POST);
        for (method, path, protocol, becomes) in [
            (&get, "/derp", "DERP", Some(Upgrade::Derp)),
            (&post, "/derp", "derp", Some(Upgrade::Derp)),
            (&get, "/derp", "WebSocket", Some(Upgrade::DerpWebSocket)),
            (&post, "/derp", "websocket", None),
            (&get, "/derp", "tea", None),
            (&get, "/derp", "", None),
            (&post, "/ts2021", "Tailscale-Control-Protocol", Some(Upgrade::Control)),
            (&get, "/ts2021", CONTROL_PROTOCOL, None),
            (&get, "/ts2021", "websocket", Some(Upgrade::ControlWebSocket)),
            (&post, "/ts2021", "websocket", None),
            (&post, "/ts2021", "derp", None),
            (&post, "/derp", CONTROL_PROTOCOL, None),
            (&get, "/", "websocket", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("derp-fast-start", "1".parse().unwrap());
            headers.insert(UPGRADE, protocol.parse().unwrap());
            assert_eq!(upgrade(method, path, &headers), becomes, "{method} {path}, {protocol}");
        }
        assert_eq!(upgrade(&get, "/derp", &HeaderMap::new()), None);
    }
}
