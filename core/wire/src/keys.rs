//! Public keys and their text forms (types/key/*.go): a prefix and 64 lower-case hex digits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Writes bytes as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(2 * bytes.len());
    push_hex(bytes, &mut out);
    out
}

fn push_hex(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        out.push(hex_digit(byte >> 4));
        out.push(hex_digit(byte & 15));
    }
}

/// The digit of a number below 16. Once this is inlined, the compiler sees the range and drops the bounds check.
fn hex_digit(nibble: u8) -> char {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    DIGITS.get(usize::from(nibble)).copied().map_or('0', char::from)
}

/// Reads exactly 64 hex digits, in either case; `None` for anything else.
pub fn unhex32(text: &str) -> Option<[u8; 32]> {
    let text = text.as_bytes();
    if text.len() != 64 {
        return None;
    }
    let mut out = [0u8; 32];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let hi = (*pair.first()? as char).to_digit(16)?;
        let lo = (*pair.get(1)? as char).to_digit(16)?;
        *byte = (hi * 16 + lo) as u8;
    }
    Some(out)
}

macro_rules! public_key {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The prefix of the text form.
            pub const PREFIX: &'static str = $prefix;

            /// The key with these bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> $name {
                $name(bytes)
            }

            /// The raw bytes of the key.
            pub const fn bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Whether this is the all-zero key, which stands for "none" on the wire.
            pub fn is_zero(&self) -> bool {
                self.0 == [0; 32]
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}…", $prefix, hex(&self.0[..4]))
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(s: &str) -> Result<$name, String> {
                s.strip_prefix($prefix)
                    .and_then(unhex32)
                    .map($name)
                    .ok_or_else(|| format!("`{s}` is not a key of the form {}<64 hex digits>", $prefix))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                // Every rendered node has keys, so this path makes one allocation and avoids `fmt`.
                let mut text = String::with_capacity($prefix.len() + 64);
                text.push_str($prefix);
                push_hex(&self.0, &mut text);
                s.serialize_str(&text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            /// As in Go, the empty string and null stand for the zero key.
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<$name, D::Error> {
                let text = Option::<std::borrow::Cow<str>>::deserialize(d)?;
                match text.as_deref() {
                    None | Some("") => Ok($name::default()),
                    Some(t) => t.parse().map_err(serde::de::Error::custom),
                }
            }
        }
    };
}

public_key! {
    /// A machine's X25519 key, with which it authenticates its Noise connections and so every request.
    MachineKey, "mkey:"
}
public_key! {
    /// A node's X25519 key, used for WireGuard and DERP.
    NodeKey, "nodekey:"
}
public_key! {
    /// The X25519 key with which a client discovers direct paths; clients create a new one at every start.
    DiscoKey, "discokey:"
}
public_key! {
    /// The challenge key in the early Noise payload.
    ChallengeKey, "chalpub:"
}
public_key! {
    /// A node's Ed25519 key for tailnet lock.
    LockKey, "nlpub:"
}
