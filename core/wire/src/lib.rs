//! The words of the protocol: keys, ids, and the JSON of the control plane.
//!
//! One struct per Go struct of `tailcfg`, fields in its order. What the server reads is decoded without regard to the
//! case of field names ([`json::decode`]), as Go does; what it writes never contains null lists.

pub mod filter;
pub mod ids;
pub mod ssh;
pub mod time;
