//! What a node is sent about its peers and about itself. The server asks [`sees`] whenever it has to decide whether one
//! node is visible to another; the policy's engine has the answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use headsail_netmap::Filters;
use headsail_policy::{ClassKey, Role, is_exit_route};
use headsail_wire::dns::DnsConfig;
use headsail_wire::filter::{CapMap, FilterRule};
use headsail_wire::hostinfo::Hostinfo;
use headsail_wire::ids::{TAGGED_DEVICES, UserId};
use headsail_wire::json::Verbatim;
use headsail_wire::map::Node as WireNode;
use headsail_wire::ssh::SshPolicy;
use ipnet::IpNet;

use crate::model::node::{Node, Owner};
use crate::tailnet::Tailnet;
use crate::{nextdns, user_names};

/// Whether `viewer` sees `node`. This depends only on the classes of the two under the policy, so that a delta over the rows
/// and the classes that changed is complete.
pub fn sees(t: &Tailnet, viewer: &Node, node: &Node) -> bool {
    viewer.id != node.id && is_shown_others(viewer) && t.access().engine().sees(viewer.id, node.id)
}

/// Whether a node is sent anything about others: about its peers, in its packet filter, its DNS settings and its SSH
/// policy. A node whose login has expired is sent itself alone, and the relays, until it logs in again. Its peers still see
/// it, as expired.
pub fn is_shown_others(viewer: &Node) -> bool {
    !viewer.expiry.is_past()
}

/// Whether `viewer` sees a node of any of these classes, itself left out.
pub fn sees_any(t: &Tailnet, viewer: &Node, classes: &[ClassKey]) -> bool {
    is_shown_others(viewer) && t.access().engine().sees_any(viewer.id, classes)
}

/// The fully qualified name of a node, with a trailing dot.
pub fn fqdn(t: &Tailnet, node: &Node) -> String {
    match t.settings().base_domain.as_str() {
        "" => format!("{}.", node.name),
        domain => format!("{}.{domain}.", node.name),
    }
}

/// What `viewer` is sent about `node`; `None` if it does not see the node.
pub fn peer(t: &Tailnet, viewer: &Node, node: &Node) -> Option<WireNode> {
    if !sees(t, viewer, node) {
        return None;
    }
    let mut out = peer_for_all(t, node);
    if is_alike_for_all(t, node) {
        return Some(out);
    }
    let engine = t.access().engine();
    let addresses: Vec<IpNet> = engine.addresses(viewer.id, node.id).into_iter().map(IpNet::from).collect();
    let routes =
        if node.approved_routes.is_empty() { Vec::new() } else { engine.allowed_routes(viewer.id, node.id) };
    out.allowed_ips = addresses.iter().chain(&routes).copied().collect();
    out.primary_routes = routes.into_iter().filter(|r| !is_exit_route(r)).collect();
    out.addresses = addresses;
    out.cap_map = engine.peer_caps(viewer.id, node.id);
    Some(out)
}

/// Whether a node looks the same to all that see it: it serves no routes, and the policy hides no addresses.
pub fn is_alike_for_all(t: &Tailnet, node: &Node) -> bool {
    node.approved_routes.is_empty() && !t.access().engine().hides_addresses()
}

/// What all viewers are sent about a node for which [`is_alike_for_all`] is true.
pub fn peer_for_all(t: &Tailnet, node: &Node) -> WireNode {
    common(t, node, node.hostinfo.for_peers())
}

/// What a node is sent about itself.
pub fn me(t: &Tailnet, node: &Node) -> WireNode {
    let hostinfo = Hostinfo {
        routable_ips: node.hostinfo.routable_ips.clone(),
        request_tags: node.hostinfo.request_tags.clone(),
        ..node.hostinfo.for_peers()
    };
    let mut out = common(t, node, hostinfo);
    out.allowed_ips.extend(served_routes(t, node));
    out.primary_routes = t.access().primary_routes(node.id).to_vec();
    out.machine = node.machine_key;
    // The client knows its own endpoints, discovery key, home relay and presence. Sending them would make it rebuild its
    // map for nothing.
    out.disco_key = Default::default();
    out.endpoints = Vec::new();
    out.home_derp = 0;
    out.online = Some(true);
    out.last_seen = None;
    out.cap_map = self_caps(t, node);
    out
}

/// The routes that a node currently serves: exit routes, and the subnet routes for which it is the primary router.
pub fn served_routes(t: &Tailnet, node: &Node) -> Vec<IpNet> {
    let primary = t.access().primary_routes(node.id);
    node.live_routes().into_iter().filter(|r| is_exit_route(r) || primary.contains(r)).collect()
}

/// The user that clients see as the owner of a node.
pub fn shown_owner(node: &Node) -> UserId {
    match &node.owner {
        Owner::User(id) => *id,
        Owner::Tags(_) => TAGGED_DEVICES,
    }
}

fn common(t: &Tailnet, node: &Node, hostinfo: Hostinfo) -> WireNode {
    let addresses = node.addresses();
    WireNode {
        id: node.id,
        stable_id: node.id.stable(),
        name: fqdn(t, node),
        user: shown_owner(node),
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

/// Whether a client shows administrative functions: on nodes of admins and on tagged nodes, and on all nodes as long as
/// nobody in the tailnet has a role beyond member. The result depends on users who own other nodes, so a delta compares the
/// roles of two snapshots.
fn is_admin(t: &Tailnet, node: &Node) -> bool {
    let admins = [Role::Owner, Role::Admin, Role::ItAdmin, Role::NetworkAdmin];
    let Some(user) = node.owner.user() else { return true };
    !t.access().has_roles() || admins.contains(&t.access().role(user))
}

/// The capabilities that a node is sent about itself: those that all nodes have, and those from the policy.
fn self_caps(t: &Tailnet, node: &Node) -> CapMap {
    let flag = |name: &str| (name.to_owned(), Vec::new());
    let mut caps = CapMap::from([flag("https://tailscale.com/cap/ssh")]);
    if is_admin(t, node) {
        caps.extend([flag("https://tailscale.com/cap/is-admin")]);
    }
    if node.owner.user().is_some_and(|user| t.access().role(user) == Role::Owner) {
        caps.extend([flag("https://tailscale.com/cap/is-owner")]);
    }
    if t.settings().taildrop {
        caps.insert("https://tailscale.com/cap/file-sharing".into(), Vec::new());
    }
    let auto_update = if t.settings().auto_update { "true" } else { "false" };
    if let Ok(value) = Verbatim::new(auto_update.into()) {
        caps.insert("default-auto-update".into(), vec![value]);
    }
    for (name, values) in t.access().engine().self_caps(node.id) {
        caps.entry(name).or_default().extend(values);
    }
    caps
}

/// The packet filter of a node. A filter without rules is sent too, because an absent one would mean "unchanged".
pub fn filters(t: &Tailnet, node: &Node) -> Filters {
    let engine = t.access().engine();
    let mut named: BTreeMap<String, Vec<FilterRule>> = BTreeMap::new();
    let parts = if is_shown_others(node) { engine.parts(node.id) } else { Default::default() };
    for part in parts {
        let rule = FilterRule {
            src_ips: engine.sources(part.sources),
            dst_ports: part.dst_ports,
            ip_proto: part.ip_proto,
            cap_grant: part.cap_grant,
        };
        named.entry(part.name).or_default().push(rule);
    }
    if named.is_empty() {
        named.insert("base".to_owned(), Vec::new());
    }
    named.into_iter().map(|(name, rules)| (name, Arc::from(rules))).collect()
}

/// The DNS settings of a node. All nodes share them, unless NextDNS identifies nodes or there are names with users in them.
pub fn dns(t: &Tailnet, node: &Node) -> Arc<DnsConfig> {
    if !is_shown_others(node) {
        return Arc::default();
    }
    let mut dns = t.settings().dns.clone();
    if nextdns::differs_by_node(&dns) {
        let device = nextdns::Device { name: &node.hostname, os: &node.hostinfo.os, ip: node.ips().next() };
        dns = Arc::new(nextdns::for_node(&dns, device, &t.access().engine().self_caps(node.id)));
    }
    if user_names::are_told(t) {
        Arc::make_mut(&mut dns)
            .extra_records
            .extend(user_names::records(t, node, |other| sees(t, node, other)));
    }
    dns
}

pub fn ssh(t: &Tailnet, node: &Node) -> Arc<SshPolicy> {
    if !is_shown_others(node) {
        return Arc::default();
    }
    t.access().engine().ssh(node.id).unwrap_or_default()
}
