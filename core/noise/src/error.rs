//! Errors of a Noise connection. Every error is fatal to the connection.

use std::fmt;

/// Why a handshake or a record was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The message does not have the length that its type requires, or its header announces an impossible length.
    Length,
    /// The message has an unexpected type; contains the type byte.
    Kind(u8),
    /// A key, tag or ciphertext does not authenticate: tampering, a wrong key, or a low-order point.
    Forged,
    /// An earlier call for this direction failed, or its nonces are used up.
    Closed,
    /// The server answered the handshake with this error text, which is not authenticated.
    Refused(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Length => f.write_str("noise message has the wrong length"),
            Error::Kind(kind) => write!(f, "unexpected noise message of type `{kind:#04x}`"),
            Error::Forged => f.write_str("noise message does not authenticate"),
            Error::Closed => f.write_str("noise connection is closed for further records"),
            Error::Refused(text) => write!(f, "server refused the noise handshake: `{text}`"),
        }
    }
}

impl std::error::Error for Error {}
