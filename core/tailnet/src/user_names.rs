//! Names of the form `node.user.domain`, which nodes had in old versions of Headscale and still have in many guides.
//! Clients resolve `node.domain` on their own; the longer names are extra records in their DNS settings.

use headsail_wire::dns::DnsRecord;

use crate::model::name::label_of;
use crate::model::node::Node;
use crate::tailnet::Tailnet;

/// The number of nodes up to which these names exist by default. The configuration can override it, and extra records in
/// the configuration disable the names. Every node gets the records of all others, so the cost of a node that joins grows
/// with the square of the number of nodes.
const MOST_NODES: usize = 32;

/// Whether nodes get such names.
pub fn are_told(t: &Tailnet) -> bool {
    let settings = t.settings();
    let by_itself = || settings.dns.extra_records.is_empty() && t.node_count() <= MOST_NODES;
    settings.dns.proxied && !settings.base_domain.is_empty() && settings.user_names.unwrap_or_else(by_itself)
}

/// The records for a viewer: its own, and one for each node of a user that it sees.
pub fn records(t: &Tailnet, viewer: &Node, sees: impl Fn(&Node) -> bool) -> Vec<DnsRecord> {
    t.nodes()
        .filter_map(|node| {
            let user = t.user(node.owner.user()?)?;
            let ips = match node.id == viewer.id {
                true => node.ips().collect(),
                false if sees(node) => t.access().engine().addresses(viewer.id, node.id),
                false => return None,
            };
            let (user, _) = user.name.split_once('@').unwrap_or((&user.name, ""));
            Some(DnsRecord {
                name: format!("{}.{}.{}", node.name, label_of(user), t.settings().base_domain),
                r#type: String::new(),
                // As with the short names, IPv6 is used only for nodes without an IPv4 address.
                value: ips.iter().find(|ip| ip.is_ipv4()).or(ips.first())?.to_string(),
            })
        })
        .collect()
}

/// Whether two versions of a node have the same record.
pub fn is_same(was: &Node, is: &Node) -> bool {
    (&was.name, &was.owner, was.v4, was.v6) == (&is.name, &is.owner, is.v4, is.v6)
}
