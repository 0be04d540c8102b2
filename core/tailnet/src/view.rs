//! What one node is told of another, and of itself. The only place that decides visibility.

use std::collections::BTreeMap;
use std::sync::Arc;

use headsail_netmap::Filters;
use headsail_wire::filter::{CapMap, FilterRule};
use headsail_wire::hostinfo::Hostinfo;
use headsail_wire::ids::TAGGED_DEVICES;
use headsail_wire::map::Node as WireNode;
use headsail_wire::ssh::SshPolicy;
use ipnet::IpNet;
use serde_json::value::RawValue;

use crate::model::node::{Node, Owner};
use crate::tailnet::Tailnet;

/// Whether `viewer` is told of `node`. Depends on these two rows and on the policy, and on nothing else: that is what
/// makes a delta over touched rows complete.
pub fn sees(_t: &Tailnet, viewer: &Node, node: &Node) -> bool {
    viewer.id != node.id
}

/// The fully qualified name of a node, with a dot at the end.
pub fn fqdn(t: &Tailnet, node: &Node) -> String {
    match t.settings().base_domain.as_str() {
        "" => format!("{}.", node.name),
        domain => format!("{}.{domain}.", node.name),
    }
}

/// What `viewer` is told of `node`; `None` where it isn't told of it.
pub fn peer(t: &Tailnet, viewer: &Node, node: &Node) -> Option<WireNode> {
    sees(t, viewer, node).then(|| common(t, node, node.hostinfo.for_peers()))
}

/// What a node is told of itself.
pub fn me(t: &Tailnet, node: &Node) -> WireNode {
    let hostinfo = Hostinfo {
        routable_ips: node.hostinfo.routable_ips.clone(),
        request_tags: node.hostinfo.request_tags.clone(),
        ..node.hostinfo.for_peers()
    };
    WireNode {
        machine: node.machine_key,
        // Its own endpoints, relay and presence are the client's to know; telling them would rebuild its map for nothing.
        endpoints: Vec::new(),
        home_derp: 0,
        online: Some(true),
        last_seen: None,
        cap_map: self_caps(t),
        ..common(t, node, hostinfo)
    }
}

fn common(t: &Tailnet, node: &Node, hostinfo: Hostinfo) -> WireNode {
    let addresses = node.addresses();
    WireNode {
        id: node.id,
        stable_id: node.id.stable(),
        name: fqdn(t, node),
        user: match &node.owner {
            Owner::User(id) => *id,
            Owner::Tags(_) => TAGGED_DEVICES,
        },
        key: node.node_key,
        key_expiry: node.expiry.time(),
        machine: Default::default(),
        disco_key: node.contact.disco_key,
        allowed_ips: addresses.clone(),
        addresses,
        endpoints: node.contact.endpoints.clone(),
        home_derp: node.contact.home_derp(),
        hostinfo,
        created: node.created,
        cap: node.cap,
        tags: node.owner.tags(),
        primary_routes: Vec::new(),
        last_seen: Some(node.presence.seen()),
        online: Some(node.presence.is_online()),
        machine_authorized: true,
        cap_map: CapMap::new(),
        expired: node.expiry.is_past(),
    }
}

/// The capabilities that every node has of itself.
fn self_caps(t: &Tailnet) -> CapMap {
    let flag = |name: &str| (name.to_owned(), Vec::new());
    let mut caps =
        CapMap::from([flag("https://tailscale.com/cap/is-admin"), flag("https://tailscale.com/cap/ssh")]);
    if t.settings().taildrop {
        caps.insert("https://tailscale.com/cap/file-sharing".into(), Vec::new());
    }
    let auto_update = if t.settings().auto_update { "true" } else { "false" };
    if let Ok(value) = RawValue::from_string(auto_update.into()) {
        caps.insert("default-auto-update".into(), vec![value]);
    }
    caps
}

/// The packet filter of a node.
pub fn filters(_t: &Tailnet, _node: &Node) -> Filters {
    let rules: Arc<[FilterRule]> = Arc::from([FilterRule::allow_all()]);
    BTreeMap::from([("base".to_owned(), rules)])
}

/// The SSH policy of a node.
pub fn ssh(_t: &Tailnet, _node: &Node) -> Arc<SshPolicy> {
    Arc::default()
}

/// The routes that `viewer` may send through `node`.
pub fn routes(_t: &Tailnet, _viewer: &Node, _node: &Node) -> Vec<IpNet> {
    Vec::new()
}
