//! How a relay connection begins, and the small pages that clients ask a relay host for.
//!
//! A fast start has no answer at all, so it must be taken before an HTTP server sees it. All else may come through one.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderMap, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderValue, Method, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::websocket::ByteStream;
use super::{End, Relay};

/// A header that only fast clients send: they have learnt the relay's key from its TLS certificates.
const FAST_START: &str = "derp-fast-start";
const CHALLENGE: &str = "x-tailscale-challenge";
const CHALLENGE_RESPONSE: &str = "x-tailscale-response";
/// Bytes of the longest challenge that is echoed.
const MAX_CHALLENGE: usize = 64;

/// How a request for `/derp` goes on.
#[derive(Debug)]
pub enum Entry {
    /// The DERP protocol begins at once, without an answer.
    FastStart,
    /// After this answer the DERP protocol begins.
    Upgrade(Response<String>),
    /// After this answer a WebSocket begins.
    WebSocket(Response<String>),
    /// This answer is all there is.
    Refuse(Response<String>),
}

/// Decides on a request for `/derp` by its headers. As with the official relay the method does not matter to DERP: the crate
/// `tailscale` sends POST.
pub fn entry(relay: &Relay, method: &Method, headers: &HeaderMap) -> Entry {
    let upgrade = text(headers, UPGRADE.as_str()).to_ascii_lowercase();
    match upgrade.as_str() {
        "derp" if text(headers, FAST_START) == "1" => Entry::FastStart,
        "derp" => {
            let mut answer = switch("DERP");
            let headers = answer.headers_mut();
            headers.insert("derp-version", HeaderValue::from_static("2"));
            if let Ok(key) = HeaderValue::from_str(&relay.public_key_hex()) {
                headers.insert("derp-public-key", key);
            }
            Entry::Upgrade(answer)
        }
        "websocket" if method == Method::GET => websocket_entry(headers),
        _ => Entry::Refuse(upgrade_required()),
    }
}

/// Serves one client over a WebSocket whose HTTP answer has been given, until its connection ends; says how it did.
pub async fn serve_websocket<S>(relay: &Relay, io: S, remote: SocketAddr) -> End
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    relay.serve_stream(ByteStream::new(io).await, remote).await
}

/// `/derp/probe` and `/derp/latency-check`: clients without UDP time how long an answer takes.
pub fn probe(method: &Method) -> Response<String> {
    if method != Method::GET && method != Method::HEAD {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here\n");
    }
    let mut answer = Response::new(String::new());
    answer.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    answer
}

/// `/generate_204`: shows clients that no captive portal is in the way. A challenge proves that the answer is ours.
pub fn generate_204(headers: &HeaderMap) -> Response<String> {
    let mut answer = Response::new(String::new());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer.headers_mut().insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store, must-revalidate, no-transform, max-age=0"),
    );
    let challenge = text(headers, CHALLENGE);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    if (1..=MAX_CHALLENGE).contains(&challenge.len())
        && challenge.bytes().all(allowed)
        && let Ok(response) = HeaderValue::from_str(&format!("response {challenge}"))
    {
        answer.headers_mut().insert(CHALLENGE_RESPONSE, response);
    }
    answer
}

/// `/bootstrap-dns`: addresses of our own hosts, for clients whose DNS does not work yet. With `q` only that host's.
pub fn bootstrap_dns(hosts: &BTreeMap<String, Vec<IpAddr>>, query: Option<&str>) -> Response<String> {
    let asked = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("q="));
    let known = asked.and_then(|name| hosts.get_key_value(name));
    let body = match known {
        Some((name, addresses)) => serde_json::to_string(&BTreeMap::from([(name, addresses)])),
        None => serde_json::to_string(hosts),
    };
    let mut answer = Response::new(body.unwrap_or_default());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

fn websocket_entry(headers: &HeaderMap) -> Entry {
    let speaks_derp =
        text(headers, SEC_WEBSOCKET_PROTOCOL.as_str()).split(',').any(|name| name.trim() == "derp");
    if !speaks_derp {
        let problem = "the WebSocket subprotocol must be `derp`\n";
        return Entry::Refuse(plain(StatusCode::BAD_REQUEST, problem));
    }
    let key = text(headers, SEC_WEBSOCKET_KEY.as_str());
    if key.is_empty() || text(headers, SEC_WEBSOCKET_VERSION.as_str()) != "13" {
        let mut answer = plain(StatusCode::BAD_REQUEST, "this is no WebSocket request of version 13\n");
        answer.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return Entry::Refuse(answer);
    }
    let mut answer = switch("websocket");
    let headers = answer.headers_mut();
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("derp"));
    Entry::WebSocket(answer)
}

fn switch(protocol: &'static str) -> Response<String> {
    let mut answer = Response::new(String::new());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert(UPGRADE, HeaderValue::from_static(protocol));
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer
}

fn upgrade_required() -> Response<String> {
    plain(StatusCode::UPGRADE_REQUIRED, "DERP requires connection upgrade\n")
}

fn plain(status: StatusCode, body: &str) -> Response<String> {
    let mut answer = Response::new(body.to_owned());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
