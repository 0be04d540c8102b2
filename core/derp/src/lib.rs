//! DERP, the relay protocol for nodes that cannot reach each other directly, and STUN, with which nodes learn their own
//! addresses.
//!
//! Nothing here does IO. [`Relay`] takes the bytes received from each connection and returns the bytes to send; [`frame`]
//! and [`sealed`] serve both servers and clients; [`stun`] encodes and decodes datagrams. The protocol is version 2 of
//! the Go client's `derp` package.

#![warn(missing_docs, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::indexing_slicing, reason = "a test may panic"))]

pub mod frame;
pub mod limits;
mod nodes;
mod outbox;
pub mod relay;
pub mod sealed;
pub mod stun;

pub use frame::{Frame, Malformed};
pub use nodes::ConnId;
pub use outbox::Chunk;
pub use relay::{Close, Relay, Stats};
pub use sealed::{ClientInfo, Identity, ServerInfo};

/// The protocol version that both sides announce in their info frames.
pub const PROTOCOL_VERSION: u32 = 2;
