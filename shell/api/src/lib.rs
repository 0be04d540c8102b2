//! The admin HTTP API as a contract: requests, responses, errors, the OpenAPI document and a typed client.
//!
//! The shapes are those of Headscale's REST API v1 as of 0.30: camelCase names, 64-bit ids as JSON strings, zero values
//! always written, RFC 3339 times, `null` for absent values. Requests are parsed leniently, because older releases
//! accepted more: snake_case names, ids as numbers, `null` for an empty list. This crate does not depend on the core; the
//! server translates between the two.

#![warn(missing_docs)]

#[cfg(feature = "client")]
pub mod client;
mod lenient;
pub mod openapi;
pub mod paths;
pub mod problem;
pub mod v1;

pub use jiff::Timestamp;
pub use lenient::{GO_ZERO_TIME, LAST_TIME};
pub use paths::Route;
pub use problem::Problem;
pub use v1::user::UserRef;
