//! Wire types of the control protocol: keys, ids and the JSON messages of the control plane.
//!
//! Each struct mirrors one Go struct of `tailcfg`, with its fields in the same order. Like Go, [`json::decode`] ignores
//! the case of field names in what the server reads. What the server writes never contains a null list.

#![warn(missing_docs, clippy::indexing_slicing, clippy::wildcard_enum_match_arm)]
#![cfg_attr(test, allow(clippy::indexing_slicing, reason = "a test may panic"))]

pub mod capver;
pub mod derp_map;
pub mod dns;
pub mod filter;
pub mod hostinfo;
pub mod ids;
pub mod json;
pub mod keys;
pub mod map;
pub mod register;
pub mod ssh;
pub mod text;
pub mod time;
pub mod user;
