//! What can go wrong on a Noise connection. Every error ends the connection.

use std::fmt;

/// Why a handshake or a record was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The message is not of the length that its kind demands, or its header announces an impossible one.
    Length,
    /// The message is of another kind than the one that is due here; holds the type byte.
    Kind(u8),
    /// A key, tag or ciphertext does not check out: tampering, a wrong key, or a low-order point.
    Forged,
    /// This direction has failed before, or has used up its nonces.
    Closed,
    /// The server answered the handshake with an error text. The text is not authenticated.
    Refused(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Length => f.write_str("noise message of the wrong length"),
            Error::Kind(kind) => write!(f, "unexpected noise message of type `{kind:#04x}`"),
            Error::Forged => f.write_str("noise message does not authenticate"),
            Error::Closed => f.write_str("noise connection can carry no more records"),
            Error::Refused(text) => write!(f, "server refused the noise handshake: `{text}`"),
        }
    }
}

impl std::error::Error for Error {}
