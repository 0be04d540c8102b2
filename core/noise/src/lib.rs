//! TS2021: the Noise IK handshake and record framing for client and server, without IO.
//!
//! A control connection begins with one message in each direction ([`handshake`]) and then carries encrypted records
//! ([`record`]). Before HTTP/2 begins, the server may send an early payload ([`early`]). Nothing here does IO or draws
//! random numbers: the caller moves the bytes and passes in each ephemeral secret, which must come from a secure
//! generator and be used only once.
//!
//! Mirrors `control/controlbase` of the Go client. It differs from plain Noise in two ways: the prologue contains the
//! client's capability version, and the record nonce is big-endian.

#![warn(missing_docs, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::indexing_slicing, reason = "a test may panic"))]

pub mod early;
mod error;
pub mod handshake;
pub mod record;
mod symmetric;

pub use error::Error;
pub use handshake::{Handshake, INITIATION_LEN, Initiator, RESPONSE_LEN, Responder, public_key};
pub use record::{MAX_PLAINTEXT, MAX_RECORD, Opener, Record, Sealer, Transport};
