//! Capability versions: the number by which a client says what it understands (`tailcfg.CapabilityVersion`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// A client's capability version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CapVer(pub u32);

impl CapVer {
    /// The oldest version that is served: client 1.80.
    pub const FLOOR: CapVer = CapVer(113);
    /// The client release that belongs to [`CapVer::FLOOR`].
    pub const FLOOR_RELEASE: &'static str = "1.80";

    /// Whether this server talks to such a client.
    pub fn is_supported(self) -> bool {
        self >= CapVer::FLOOR
    }
}

impl fmt::Display for CapVer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
