//! DERP, the relay for nodes that cannot reach each other, and STUN, by which they learn their own addresses.
//!
//! Nothing here does IO: [`Relay`] is given the bytes of each connection and hands out the bytes for each, [`sealed`]
//! and [`frame`] serve both the server and its clients, [`stun`] turns a datagram into its answer. The protocol is that
//! of the Go client's `derp` package, version 2.

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

/// The protocol version that both sides name in their info frames.
pub const PROTOCOL_VERSION: u32 = 2;
