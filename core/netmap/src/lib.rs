//! One node's view of its tailnet, the difference of two views, and how a difference is applied.
//!
//! The server computes differences; clients, tests and the simulation apply them. One law ties the two together:
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

/// The named parts of a packet filter. The filter is their concatenation, in the order of the names.
pub type Filters = BTreeMap<String, Arc<[FilterRule]>>;

/// A node's view of its tailnet: everything that its client is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct NetMap {
    /// The node itself.
    pub me: Arc<Node>,
    /// The nodes that it sees, which never include itself.
    pub peers: BTreeMap<NodeId, Arc<Node>>,
    pub filters: Filters,
    pub dns: Arc<DnsConfig>,
    pub derp: Arc<DerpMap>,
    pub ssh: Arc<SshPolicy>,
    /// Profiles of the owners of the node and its peers. A client never forgets a profile, so it may have more.
    pub profiles: BTreeMap<UserId, UserProfile>,
    /// Name of the tailnet.
    pub domain: String,
}
