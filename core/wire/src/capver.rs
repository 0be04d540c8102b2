//! Capability versions: the number with which a client announces what it understands (`tailcfg.CapabilityVersion`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// A client's capability version. Each release of the official client raises it when it learns something new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CapVer(pub u32);

impl CapVer {
    /// The oldest version the server accepts: client 1.80.
    pub const FLOOR: CapVer = CapVer(113);
    /// The client release that introduced [`CapVer::FLOOR`].
    pub const FLOOR_RELEASE: &'static str = "1.80";

    /// Whether the server accepts clients of this version.
    pub fn is_supported(self) -> bool {
        self >= CapVer::FLOOR
    }
}

impl fmt::Display for CapVer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
