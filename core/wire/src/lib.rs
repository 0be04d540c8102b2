//! The words of the protocol: keys, ids, and the JSON of the control plane.
//!
//! One struct per Go struct of `tailcfg`, fields in its order. What the server reads is decoded without regard to the
//! case of field names ([`json::decode`]), as Go does; what it writes never contains null lists.

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
