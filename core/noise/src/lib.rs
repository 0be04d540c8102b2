//! TS2021: the Noise IK handshake and record framing, both roles, bytes in and bytes out.
//!
//! A control connection begins with one message each way ([`handshake`]), then carries encrypted records ([`record`]);
//! the server may say one thing before HTTP/2 begins ([`early`]). Nothing here does IO or picks random numbers: the
//! caller moves the bytes and hands in each ephemeral secret, which must come from a secure generator and be used once.
//!
//! Mirrors `control/controlbase` of the Go client. Two differences from plain Noise matter: the prologue names the
//! client's capability version, and the record nonce counts big-endian.

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
