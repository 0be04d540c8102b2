//! The settings of a tailnet that come from the configuration.

use std::sync::Arc;

use headsail_wire::derp_map::DerpMap;
use headsail_wire::dns::DnsConfig;
use ipnet::{Ipv4Net, Ipv6Net};

/// How addresses are allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// Each new node gets the next free address after the highest one so far.
    Sequential,
    /// Each new node gets a random free address of the prefix.
    Random,
}

/// The configured settings of a tailnet. At least one of the two prefixes is set.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// DNS suffix of node names, without leading or trailing dots; may be empty.
    pub base_domain: String,
    /// Prefix of the nodes' IPv4 addresses.
    pub v4: Option<Ipv4Net>,
    /// Prefix of the nodes' IPv6 addresses.
    pub v6: Option<Ipv6Net>,
    pub allocation: Allocation,
    /// The DNS settings that all nodes have in common.
    pub dns: Arc<DnsConfig>,
    /// Whether `node.user.domain` resolves in addition to `node.domain`. `None` means that it does as long as the tailnet
    /// is small and has no extra DNS records.
    pub user_names: Option<bool>,
    /// The domains, in lower case, that a new policy may use in `user:*@domain`. If there are none, those of the users'
    /// e-mail addresses are allowed.
    pub policy_domains: Vec<String>,
    pub derp: Arc<DerpMap>,
    /// Seconds until the key of a user's node expires; `None` for never.
    pub node_expiry: Option<i64>,
    /// Seconds after which an offline ephemeral node is deleted.
    pub ephemeral_timeout: i64,
    /// The grace period: milliseconds for which a node counts as online after its stream has ended.
    pub grace_millis: i64,
    /// Whether nodes of the same user may send each other files.
    pub taildrop: bool,
    /// Whether clients update themselves by default.
    pub auto_update: bool,
    /// Seconds after which a pending login times out.
    pub ticket_secs: i64,
    /// How many logins are kept; beyond it, settled ones and then the oldest are dropped.
    pub max_tickets: usize,
}

impl Settings {
    /// The settings of a tailnet without any configuration.
    pub fn basic() -> Settings {
        Settings {
            base_domain: "mesh.internal".into(),
            v4: "100.64.0.0/10".parse().ok(),
            v6: "fd7a:115c:a1e0::/48".parse().ok(),
            allocation: Allocation::Sequential,
            dns: Arc::new(DnsConfig::default()),
            user_names: None,
            policy_domains: Vec::new(),
            derp: Arc::new(DerpMap::default()),
            node_expiry: None,
            ephemeral_timeout: 120,
            grace_millis: 5_000,
            taildrop: true,
            auto_update: false,
            ticket_secs: 15 * 60,
            max_tickets: 1024,
        }
    }
}
