//! `HEAD /machine/ping-response`: where clients answer pings of the control server.

use std::collections::BTreeMap;

use axum::extract::Query;
use axum::http::{Method, StatusCode};

/// No ping is outstanding as long as this server sends none, so every id is unknown.
pub async fn response(method: Method, Query(query): Query<BTreeMap<String, String>>) -> StatusCode {
    match (method, query.get("id")) {
        (Method::HEAD, Some(_)) => StatusCode::NOT_FOUND,
        (Method::HEAD, None) => StatusCode::BAD_REQUEST,
        _ => StatusCode::METHOD_NOT_ALLOWED,
    }
}
