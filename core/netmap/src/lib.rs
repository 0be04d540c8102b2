//! One node's view of its tailnet, how two views differ, and how a difference is applied.
//!
//! The server compares; clients, tests and the simulation apply. The law that ties them together:
//! `apply(a, diff(a, b)) == b`.

#![warn(clippy::wildcard_enum_match_arm)]

use std::collections::BTreeMap;
use std::sync::Arc;

use headsail_wire::derp_map::DerpMap;
use headsail_wire::dns::DnsConfig;
use headsail_wire::filter::FilterRule;
use headsail_wire::ids::{NodeId, UserId};
use headsail_wire::map::Node;
use headsail_wire::ssh::SshPolicy;
use headsail_wire::user::UserProfile;

pub mod apply;
pub mod diff;
pub mod peer;

/// Named parts of a packet filter; the filter is their concatenation in the order of the names.
pub type Filters = BTreeMap<String, Arc<[FilterRule]>>;

/// Everything that one node is told.
#[derive(Clone, Debug, PartialEq)]
pub struct NetMap {
    /// The node itself.
    pub me: Arc<Node>,
    /// The nodes that it sees; never itself.
    pub peers: BTreeMap<NodeId, Arc<Node>>,
    /// Its packet filter.
    pub filters: Filters,
    /// Its DNS settings.
    pub dns: Arc<DnsConfig>,
    /// The relays.
    pub derp: Arc<DerpMap>,
    /// Who may log in to it by SSH.
    pub ssh: Arc<SshPolicy>,
    /// Profiles of the owners of itself and of its peers. A client keeps what it was told, so it may hold more.
    pub profiles: BTreeMap<UserId, UserProfile>,
    /// Name of the tailnet.
    pub domain: String,
}
