//! What the configuration decides about a tailnet.

use std::sync::Arc;

use headsail_wire::derp_map::DerpMap;
use headsail_wire::dns::DnsConfig;
use ipnet::{Ipv4Net, Ipv6Net};

/// How long a node counts as online after its stream ended, so that a reconnect goes unnoticed by its peers.
pub const GRACE_MILLIS: i64 = 5_000;

/// How addresses are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// Each new node gets the next free address after the highest one so far.
    Sequential,
    /// Each new node gets a random free address of the prefix.
    Random,
}

/// The configured facts of a tailnet. At least one prefix is set.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// DNS suffix of node names, without dots at the ends; may be empty.
    pub base_domain: String,
    /// IPv4 addresses of nodes come from here.
    pub v4: Option<Ipv4Net>,
    /// IPv6 addresses of nodes come from here.
    pub v6: Option<Ipv6Net>,
    /// How they are given out.
    pub allocation: Allocation,
    /// DNS settings of every node.
    pub dns: Arc<DnsConfig>,
    /// Whether `node.user.domain` resolves besides `node.domain`; `None` for as long as the tailnet is
    /// small and has no extra records.
    pub user_names: Option<bool>,
    /// The domains that a new policy may name users by, in lower case; empty stands for those of the users' e-mail
    /// addresses.
    pub policy_domains: Vec<String>,
    /// The relays.
    pub derp: Arc<DerpMap>,
    /// Seconds that the key of a user's node is good for; `None` for ever.
    pub node_expiry: Option<i64>,
    /// Seconds that an ephemeral node may be offline.
    pub ephemeral_timeout: i64,
    /// Milliseconds that a node counts as online after its stream has ended.
    pub grace_millis: i64,
    /// Whether files may be sent between nodes of one user.
    pub taildrop: bool,
    /// Whether clients are told to update themselves.
    pub auto_update: bool,
    /// Seconds that a login waits for a person.
    pub ticket_secs: i64,
    /// How many logins may wait at once.
    pub max_tickets: usize,
}

impl Settings {
    /// Whether an extra DNS record has the name that a node with this label would have.
    pub fn has_record(&self, label: &str) -> bool {
        let labels = self.dns.extra_records.iter().filter_map(|record| self.node_label(&record.name));
        labels.into_iter().any(|taken| taken.eq_ignore_ascii_case(label))
    }

    /// The label of a node that would have this fully qualified name; `None` if no node can have it.
    pub fn node_label<'a>(&self, name: &'a str) -> Option<&'a str> {
        let name = name.trim_end_matches('.');
        let label = match self.base_domain.as_str() {
            "" => name,
            domain => {
                let at = name.len().checked_sub(domain.len() + 1)?;
                let (label, rest) = name.split_at_checked(at)?;
                rest.strip_prefix('.').filter(|rest| rest.eq_ignore_ascii_case(domain))?;
                label
            }
        };
        (!label.is_empty() && !label.contains('.')).then_some(label)
    }

    /// What a tailnet has that nobody configured.
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
            grace_millis: GRACE_MILLIS,
            taildrop: true,
            auto_update: false,
            ticket_secs: 15 * 60,
            max_tickets: 1024,
        }
    }
}
