//! A request of HTTP/1.1 names its host exactly once (RFC 9112, 3.2). Two servers that disagree about a request without,
//! such as a proxy and this one, could be played off against each other.

use axum::extract::Request;
use axum::http::{StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// A layer: refuses requests that do not.
pub(super) async fn check(request: Request, next: Next) -> Response {
    if request.version() == Version::HTTP_11 && request.headers().get_all(header::HOST).iter().count() != 1 {
        return (StatusCode::BAD_REQUEST, "the request needs exactly one Host header\n").into_response();
    }
    next.run(request).await
}
