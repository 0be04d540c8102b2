//! Reading requests, leniently: the body as JSON whatever its content type says, or the query where there is no body.

use axum::body::Bytes;
use axum::extract::{FromRequest, Query, Request};
use axum::http::StatusCode;
use headsail_api::Problem;
use serde::de::DeserializeOwned;

use super::error::Refusal;

/// A request's body, or its query where it has no body.
pub struct Read<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Read<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Read<T>, Refusal> {
        let uri = request.uri().clone();
        let body = Bytes::from_request(request, state).await.map_err(|e| match e.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::new(413, "the request is larger than 1 MiB"),
            _ => Problem::bad_request("the request ended too early"),
        })?;
        if body.iter().all(u8::is_ascii_whitespace) {
            let query = Query::try_from_uri(&uri)
                .map_err(|e| Problem::bad_request(format!("the query cannot be read: {}", innermost(&e))))?;
            return Ok(Read(query.0));
        }
        let value = serde_json::from_slice(&body)
            .map_err(|e| Problem::bad_request(format!("the request cannot be read: {e}")))?;
        Ok(Read(value))
    }
}

/// The cause at the bottom, without what axum says around it.
fn innermost(e: &dyn std::error::Error) -> String {
    let mut e = e;
    while let Some(source) = e.source() {
        e = source;
    }
    e.to_string()
}

/// Reads an id out of a path. Well-formed numbers that no row can have are `None`.
///
/// # Errors
/// It is not a number.
pub fn id<I>(text: &str, new: fn(u64) -> Option<I>) -> Result<Option<I>, Refusal> {
    match text.parse() {
        Ok(n) => Ok(new(n)),
        Err(_) => {
            Err(Problem::bad_request(format!("`{text}` is not an id; ids are whole numbers from 1")).into())
        }
    }
}
