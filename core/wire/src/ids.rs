//! Numeric ids of rows.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(NonZeroU64);

        impl $name {
            /// The largest id. JavaScript clients lose precision above 2^53.
            pub const MAX: u64 = (1 << 53) - 1;

            /// The id with this number; `None` unless it is in 1 to 2^53 - 1.
            pub const fn new(n: u64) -> Option<$name> {
                if n > Self::MAX {
                    return None;
                }
                match NonZeroU64::new(n) {
                    Some(n) => Some($name(n)),
                    None => None,
                }
            }

            /// The id as a plain number.
            pub const fn get(self) -> u64 {
                self.0.get()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(s: &str) -> Result<$name, String> {
                s.parse().ok().and_then($name::new).ok_or_else(|| format!("`{s}` is not an id; ids are whole numbers from 1"))
            }
        }
    };
}

id! {
    /// A node's id, which never changes and is never reused (`tailcfg.NodeID`).
    NodeId
}
id! {
    /// A user's id (`tailcfg.UserID`).
    UserId
}
id! {
    /// The id of a pre-auth key.
    AuthKeyId
}
id! {
    /// The id of an API key.
    ApiKeyId
}

impl NodeId {
    /// The opaque id that clients store in their preferences (`tailcfg.StableNodeID`).
    pub fn stable(self) -> String {
        self.to_string()
    }
}

/// The user id that clients see as the owner of every tagged node. The number is the one Headscale uses, and its tools
/// rely on it.
pub const TAGGED_DEVICES: UserId = match UserId::new(2_147_455_555) {
    Some(id) => id,
    None => panic!("the id is in range"),
};
