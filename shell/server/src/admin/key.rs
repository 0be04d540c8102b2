//! What pre-auth keys and API keys have in common.

use headsail_api::{Problem, Timestamp};
use headsail_wire::time::Time;

use super::error::Refusal;
use super::view;
use crate::system::clock;

/// The expiration of a new key: the requested time, or `default_secs` from now.
///
/// # Errors
/// The requested time is not in the future.
pub fn expiration(requested: Option<Timestamp>, default_secs: i64) -> Result<Time, Refusal> {
    let now = clock::now();
    match requested.map(view::from_time) {
        None => Ok(now.plus_secs(default_secs)),
        Some(at) if at > now => Ok(at),
        Some(at) => Err(Problem::bad_request(format!(
            "the expiration `{at}` is in the past, so the key would never be valid; send a time in the future"
        ))
        .into()),
    }
}

/// The public part of a key. Accepts the whole key, its masked form in lists, and the public part itself.
pub fn public_part<'a>(kind: &str, text: &'a str) -> &'a str {
    let rest = text.strip_prefix(kind).unwrap_or(text);
    rest.split_once('-').map_or(rest, |(public, _)| public)
}
