//! What the relay answers over HTTP: how a connection for it begins, and the small pages that clients ask a relay host for.
//!
//! These are the responses alone. Which of them a request gets is decided in `listen/classify.rs`, and `http/relay_pages.rs`
//! sends them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderMap, UPGRADE,
};
use http::{HeaderValue, Method, Response, StatusCode};

use super::Relay;

const CHALLENGE: &str = "x-tailscale-challenge";
const CHALLENGE_RESPONSE: &str = "x-tailscale-response";
/// Bytes of the longest challenge that is echoed.
const MAX_CHALLENGE: usize = 64;

/// After this response the connection carries DERP frames.
pub fn switch_to_derp(relay: &Relay) -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("DERP"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert("derp-version", HeaderValue::from_static("2"));
    if let Ok(key) = HeaderValue::from_str(&relay.public_key_hex()) {
        headers.insert("derp-public-key", key);
    }
    response
}

/// `/derp` without an upgrade to DERP or to a WebSocket.
pub fn upgrade_required() -> Response<String> {
    plain(StatusCode::UPGRADE_REQUIRED, "DERP requires connection upgrade\n")
}

/// `/derp` with a WebSocket that offers another subprotocol.
pub fn wrong_subprotocol() -> Response<String> {
    plain(StatusCode::BAD_REQUEST, "the WebSocket subprotocol must be `derp`\n")
}

/// `/derp/probe` and `/derp/latency-check`: clients without UDP time how long a response takes.
pub fn probe(method: &Method) -> Response<String> {
    if method != Method::GET && method != Method::HEAD {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here\n");
    }
    let mut response = Response::new(String::new());
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// `/generate_204`: shows clients that no captive portal is in the way. A challenge proves that the response is ours.
pub fn generate_204(headers: &HeaderMap) -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store, must-revalidate, no-transform, max-age=0"),
    );
    let challenge = headers.get(CHALLENGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    if (1..=MAX_CHALLENGE).contains(&challenge.len())
        && challenge.bytes().all(allowed)
        && let Ok(echo) = HeaderValue::from_str(&format!("response {challenge}"))
    {
        response.headers_mut().insert(CHALLENGE_RESPONSE, echo);
    }
    response
}

/// `/bootstrap-dns`: addresses of our own hosts, for clients whose DNS does not work yet. With `q`, only that host's.
pub fn bootstrap_dns(hosts: &BTreeMap<String, Vec<IpAddr>>, query: Option<&str>) -> Response<String> {
    let wanted = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("q="));
    let known = wanted.and_then(|name| hosts.get_key_value(name));
    let body = match known {
        Some((name, addresses)) => serde_json::to_string(&BTreeMap::from([(name, addresses)])),
        None => serde_json::to_string(hosts),
    };
    let mut response = Response::new(body.unwrap_or_default());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn plain(status: StatusCode, body: &str) -> Response<String> {
    let mut response = Response::new(body.to_owned());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
