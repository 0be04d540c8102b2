//! What makes two nodes indistinguishable to a policy.

use headsail_wire::ids::UserId;
use ipnet::IpNet;

use crate::engine::program::SelId;

/// Everything that the policy can tell about a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Signature {
    /// Selectors that match; sorted.
    pub sels: Vec<SelId>,
    /// Those of them that match only by a route, where capabilities are granted on addresses; sorted.
    pub routed: Vec<SelId>,
    /// The owner, if the policy uses `autogroup:self`.
    pub owner: Option<UserId>,
    /// Routes that the node serves; sorted.
    pub routes: Vec<IpNet>,
}

impl Signature {
    pub fn has(&self, sel: SelId) -> bool {
        self.sels.binary_search(&sel).is_ok()
    }

    /// Whether a selector matches the node itself, not its routes alone.
    pub fn matches_itself(&self, sel: SelId) -> bool {
        self.has(sel) && self.routed.binary_search(&sel).is_err()
    }
}
