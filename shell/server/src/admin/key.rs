//! What auth keys and API keys have in common.

use headsail_api::{Problem, Timestamp};
use headsail_wire::time::Time;

use super::error::Refusal;
use super::view;
use crate::system::clock;

/// When a new key stops working: when its maker said, or this many seconds from now.
///
/// # Errors
/// That time has come: the key would never work.
pub fn expiration(asked: Option<Timestamp>, default_secs: i64) -> Result<Time, Refusal> {
    let now = clock::now();
    match asked.map(view::from_time) {
        None => Ok(now.plus_secs(default_secs)),
        Some(at) if at > now => Ok(at),
        Some(at) => Err(Problem::bad_request(format!(
            "the expiration `{at}` would make a key that never works; send a time to come"
        ))
        .into()),
    }
}

/// The public part of a key that is given whole, masked as lists show it, or as that part alone.
pub fn public_part<'a>(kind: &str, text: &'a str) -> &'a str {
    let rest = text.strip_prefix(kind).unwrap_or(text);
    rest.split_once('-').map_or(rest, |(public, _)| public)
}
