//! How relay connections end, in words.

use std::io;

use headsail_derp::Close;
use headsail_derp::limits::WRITE_STALL_SECS;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client hung up.
    Eof,
    /// The connection broke.
    Io(io::ErrorKind),
    /// The handshake came to nothing.
    Handshake(Failure),
    /// The node may not use the relay.
    Refused,
    /// The client took no bytes for [`WRITE_STALL_SECS`].
    Stalled,
    /// The relay closed it.
    Closed(Close),
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            End::Eof => f.write_str("the client hung up"),
            End::Io(kind) => write!(f, "the connection broke: {kind}"),
            End::Handshake(Failure::Timeout) => f.write_str("the handshake took too long"),
            End::Handshake(Failure::Malformed) => f.write_str("the handshake was malformed"),
            End::Handshake(Failure::Unproven) => {
                f.write_str("the client does not hold the key that it claims")
            }
            End::Refused => f.write_str("the node may not use this relay"),
            End::Stalled => write!(f, "the client took no bytes for {WRITE_STALL_SECS} s"),
            End::Closed(why) => why.fmt(f),
        }
    }
}

/// Why a handshake came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A step took too long.
    Timeout,
    /// The client sent no ClientInfo frame, or a bad one.
    Malformed,
    /// The client does not hold the key it claims.
    Unproven,
}
