//! `node.user.domain`: names that nodes had in tailnets of old and have in guides that people follow. Clients resolve
//! `node.domain` by themselves; the longer names are records in their DNS settings.

use headsail_wire::dns::DnsRecord;

use crate::model::name::label_of;
use crate::model::node::Node;
use crate::tailnet::Tailnet;

/// Up to this many nodes are named so unless the configuration decides, by word or by records of its own. Everyone is told
/// the records of everyone, so what a join costs grows with the square of the tailnet.
const MOST_NODES: usize = 32;

/// Whether nodes are told such names.
pub fn are_told(t: &Tailnet) -> bool {
    let settings = t.settings();
    let by_itself = || settings.dns.extra_records.is_empty() && t.node_count() <= MOST_NODES;
    settings.dns.proxied && !settings.base_domain.is_empty() && settings.user_names.unwrap_or_else(by_itself)
}

/// The records of a viewer: for itself and for each node of a user that it sees.
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
                // As for the short names, the IPv6 address is for nodes that have no other.
                value: ips.iter().find(|ip| ip.is_ipv4()).or(ips.first())?.to_string(),
            })
        })
        .collect()
}

/// Whether two rows of a node make the same record.
pub fn is_same(was: &Node, is: &Node) -> bool {
    (&was.name, &was.owner, was.v4, was.v6) == (&is.name, &is.owner, is.v4, is.v6)
}
