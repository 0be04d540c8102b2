//! The global flags, and parsers for flag values.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use headsail_api::Timestamp;
use headsail_api::v1::node::ExpireNodeRequest;
use serde_json::json;

use crate::output::{Failure, Format};

#[derive(Clone, Debug, Default, Args)]
pub struct Globals {
    /// Configuration file [env: HEADSAIL_CONFIG, HEADSCALE_CONFIG]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data directory of a server that runs without a configuration file [env: HEADSAIL_DATA_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Output format for programs: json, json-line or yaml
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "", hide_default_value = true)]
    pub output: Format,
    /// Do not ask for confirmation
    #[arg(
        long, global = true, action = ArgAction::Set, value_parser = go_bool, value_name = "BOOL",
        num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        hide_default_value = true, hide_possible_values = true
    )]
    pub force: bool,
}

/// Parses a boolean flag with Go's spellings, as in `--force=true`.
pub fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("`{text}` is neither true nor false")),
    }
}

pub fn id(text: &str) -> Result<u64, String> {
    // Rust accepts `+7`; Go's parsers, and therefore the API, do not.
    match text.parse() {
        Ok(id) if id > 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(id),
        _ => Err(format!("`{text}` is not an id; ids are whole numbers from 1")),
    }
}

/// Extracts the id of a pending login or SSH check from the URL of its page. Anything else is returned unchanged.
pub fn request_id(text: &str) -> Result<String, Infallible> {
    let path = text.trim().split(['?', '#']).next().unwrap_or_default();
    let id = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    Ok(if id.is_empty() { text } else { id }.to_owned())
}

/// Parses the lifetime of a key, such as `90d` or `1h30m`. Zero is refused.
pub fn lifetime(text: &str) -> Result<Duration, String> {
    match headsail_server::config::duration::parse(text)? {
        Duration::ZERO => Err(format!(
            "a lifetime of `{text}` would create a key that never works; use at least one second"
        )),
        lifetime => Ok(lifetime),
    }
}

/// Parses a point in time with the API's own parser.
pub fn time_of(text: &str) -> Result<Timestamp, String> {
    if headsail_server::config::duration::parse(text.trim_start_matches('-')).is_ok() {
        return Err(format!(
            "`{text}` is a duration, but this flag takes a point in time; write it like 2026-01-31T12:00:00Z"
        ));
    }
    let parsed = serde_json::from_value(json!({ "expiry": text })).map_err(|e| e.to_string());
    let request: ExpireNodeRequest = parsed?;
    request.expiry.ok_or_else(|| format!("`{text}` is not a time; write it like 2026-01-31T12:00:00Z"))
}

/// The time at which a duration that starts now ends.
pub fn after(span: Duration) -> Result<Timestamp, Failure> {
    Timestamp::now()
        .checked_add(span)
        .map_err(|_| Failure::new(format!("a lifetime of {span:?} is too long; use at most a few centuries")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_positive_whole_numbers() {
        assert_eq!(id("7"), Ok(7));
        for bad in ["", "0", "-1", "+1", "x", "7 ", "1.5", "18446744073709551616"] {
            assert_eq!(id(bad), Err(format!("`{bad}` is not an id; ids are whole numbers from 1")));
        }
    }

    #[test]
    fn request_ids_are_extracted_from_urls() {
        let id = "hskey-authreq-abcdefghijkmnpqrstuvwxyz";
        for text in [
            format!("https://hs.example.com/register/{id}"),
            format!("http://127.0.0.1:8080/base/register/{id}/?x=/y#z"),
            format!("hs.example.com/register/{id}"),
            format!(" {id} "),
            id.to_owned(),
        ] {
            assert_eq!(request_id(&text).as_deref(), Ok(id), "{text}");
        }
        assert_eq!(request_id("nodekey:0a").as_deref(), Ok("nodekey:0a"));
        assert_eq!(request_id("/").as_deref(), Ok("/"));
        assert_eq!(request_id("").as_deref(), Ok(""));
    }
}
