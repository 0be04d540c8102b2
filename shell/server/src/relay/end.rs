//! How relay connections end.

use std::io;

use headsail_derp::Close;
use headsail_derp::limits::WRITE_STALL_SECS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client closed the connection.
    Eof,
    Io(io::ErrorKind),
    Handshake(Failure),
    Refused,
    /// The client accepted no bytes for [`WRITE_STALL_SECS`].
    Stalled,
    /// The relay closed the connection.
    Closed(Close),
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            End::Eof => f.write_str("the client closed the connection"),
            End::Io(kind) => write!(f, "the connection failed: {kind}"),
            End::Handshake(Failure::Timeout) => f.write_str("the handshake timed out"),
            End::Handshake(Failure::Malformed) => f.write_str("the handshake was malformed"),
            End::Handshake(Failure::Unproven) => {
                f.write_str("the client does not have the private key that it claims")
            }
            End::Refused => f.write_str("the node is not allowed to use this relay"),
            End::Stalled => write!(f, "the client accepted no bytes for {WRITE_STALL_SECS} s"),
            End::Closed(why) => why.fmt(f),
        }
    }
}

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Timeout,
    /// The client sent no ClientInfo frame, or a bad one.
    Malformed,
    /// The client does not have the private key of the public key that it claims.
    Unproven,
}
