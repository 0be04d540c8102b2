//! Headers that keep browsers from doing more with a page than showing it.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// What every response forbids: to load anything, to run scripts, to send forms, and to be framed. Pages with styles
/// allow those with a policy of their own ([`policy_with`]).
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// The content security policy of a page with this style sheet, and with images of this server.
pub fn policy_with(style: &str) -> String {
    let hash = BASE64.encode(Sha256::digest(style));
    format!("{POLICY}; img-src 'self'; style-src 'sha256-{hash}'")
}

/// A layer: adds the headers to every response that is not a switch of protocols.
pub async fn guard(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let headers = response.headers_mut();
        headers.extend(HEADERS);
        headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(POLICY));
    }
    response
}
