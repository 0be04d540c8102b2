//! Parses requests leniently: the body as JSON regardless of its content type, or the query if there is no body.

use axum::body::Bytes;
use axum::extract::{FromRequest, Query, Request};
use axum::http::StatusCode;
use headsail_api::Problem;
use serde::de::DeserializeOwned;

use super::MAX_BODY;
use super::error::Refusal;
use crate::listen::TooSlow;

/// How many characters of an invalid value an error quotes.
const MAX_QUOTED: usize = 100;

/// The parsed body of a request, or its query if it has no body.
pub struct Read<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Read<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Read<T>, Refusal> {
        let uri = request.uri().clone();
        let body = Bytes::from_request(request, state).await.map_err(|e| match e.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                Problem::new(413, format!("the request body is larger than {} MiB", MAX_BODY >> 20))
            }
            _ if is_too_slow(&e) => Problem::new(408, TooSlow.to_string()),
            _ => Problem::bad_request("the request body ended prematurely"),
        })?;
        if body.iter().all(u8::is_ascii_whitespace) {
            let query = Query::try_from_uri(&uri).map_err(|e| {
                Problem::bad_request(format!("the query is invalid: {}", plain(&innermost(&e))))
            })?;
            return Ok(Read(query.0));
        }
        let value = object(&body)
            .map_err(|e| Problem::bad_request(format!("the request body is invalid: {}", plain(&e))))?;
        Ok(Read(value))
    }
}

fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    match body.trim_ascii_start().first() {
        Some(b'{') => serde_json::from_slice(body).map_err(|e| e.to_string()),
        _ => Err("it is not a JSON object; send one, such as {}".to_owned()),
    }
}

/// Rewrites a message of the JSON parser in the style of ours: a value in backticks and not too long, and "list" rather
/// than "sequence".
fn plain(said: &str) -> String {
    let said = said.replace("expected a sequence", "expected a list");
    let quoted = said.split_once(": string \"").and_then(|(what, rest)| {
        let end = rest.rfind("\", expected ")?;
        Some((what, rest.get(..end)?, rest.get(end + 1..)?))
    });
    match quoted {
        Some((what, value, rest)) => {
            format!("{what}: `{}`{rest}", value.chars().take(MAX_QUOTED).collect::<String>())
        }
        None => said,
    }
}

/// The innermost cause, without the context that axum adds.
fn innermost(e: &dyn std::error::Error) -> String {
    let mut e = e;
    while let Some(source) = e.source() {
        e = source;
    }
    e.to_string()
}

fn is_too_slow(e: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(e), |e| e.source()).any(|e| e.is::<TooSlow>())
}

/// Parses the id in a path. `None` if it is a number, but not one that a row can have.
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
