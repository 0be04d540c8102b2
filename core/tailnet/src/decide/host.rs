//! What a client tells of its host, taken over and bounded.

use std::sync::Arc;

use headsail_wire::hostinfo::{Hostinfo, NetInfo};
use ipnet::IpNet;

use crate::decide::policy;
use crate::model::name;
use crate::model::node::Node;
use crate::tailnet::Tailnet;

/// The longest text of a host, in bytes; the longest name that DNS knows has 253.
const MAX_TEXT: usize = 255;
/// Routes and tags of a host.
const MAX_LIST: usize = 1024;
/// Services of a host; a client tells what listens on it, if asked to.
const MAX_SERVICES: usize = 256;
/// SSH host keys of a host, and hardware addresses: there is one for each kind, or port.
const MAX_HOST_KEYS: usize = 32;
/// The longest SSH host key, in bytes: RSA with 16,384 bits as text.
const MAX_HOST_KEY: usize = 4096;
/// Routes and tags of a host whose login waits for a person.
const MAX_LIST_OF_A_STRANGER: usize = 64;

/// Takes over what a client tells of its host. An empty one tells nothing, and what is missing of the name and of the
/// network measurements stays as it was; the node's name follows the host's unless an administrator chose one.
pub(super) fn take_hostinfo(t: &Tailnet, node: &mut Node, told: &Hostinfo) {
    if let Some(net_info) = &told.net_info {
        take_net_info(node, net_info);
    }
    let host = bounded(told);
    if host != Hostinfo::default() {
        take_host(t, node, host);
    }
    policy::auto_approve(t, node);
}

/// Takes over the host of a login that has waited: what was not kept of it ([`of_a_stranger`]) stays as it was.
pub(super) fn take_strangers_hostinfo(t: &Tailnet, node: &mut Node, told: &Hostinfo) {
    if *told == Hostinfo::default() {
        return take_hostinfo(t, node, told);
    }
    let Hostinfo { services, ssh_host_keys, wol_macs, .. } = Hostinfo::clone(&node.hostinfo);
    take_hostinfo(t, node, &Hostinfo { services, ssh_host_keys, wol_macs, ..told.clone() });
}

/// Takes over what was not kept of the host of a login that has waited, where nobody has told it since.
pub(super) fn complete_strangers_hostinfo(node: &mut Node, told: &Hostinfo) {
    let told = bounded(told);
    let host = Arc::make_mut(&mut node.hostinfo);
    if host.services.is_empty() {
        host.services = told.services;
    }
    if host.ssh_host_keys.is_empty() {
        host.ssh_host_keys = told.ssh_host_keys;
    }
    if host.wol_macs.is_empty() {
        host.wol_macs = told.wol_macs;
    }
}

fn take_host(t: &Tailnet, node: &mut Node, mut host: Hostinfo) {
    if host.hostname.is_empty() {
        host.hostname.clone_from(&node.hostname);
    }
    if *node.hostinfo != host {
        node.hostinfo = Arc::new(host);
    }
    if node.hostname != node.hostinfo.hostname {
        node.hostname = node.hostinfo.hostname.clone();
        if !node.name_pinned {
            let label = name::label_of(&node.hostname);
            node.name = name::unique(&label, |n| t.node_by_name(n).is_some_and(|other| other.id != node.id));
        }
    }
}

/// Takes over what a client measured of its network.
pub(super) fn take_net_info(node: &mut Node, told: &NetInfo) {
    let mut net_info = bounded_net_info(told);
    if net_info.preferred_derp == 0 {
        // Clients that know a peer's home relay can't be told that it has none any more; it keeps the last one.
        net_info.preferred_derp = node.contact.home_derp();
    }
    if node.contact.net_info.as_deref() != Some(&net_info) {
        node.contact.net_info = Some(Arc::new(net_info));
    }
}

/// What a client tells, with its routes masked and everything cut that is longer than any client has reason to tell. A
/// row of a node is told to peers and kept on disk, so it has a bound whatever the client sends.
fn bounded(told: &Hostinfo) -> Hostinfo {
    let mut h = Hostinfo { net_info: None, ..told.clone() };
    h.texts_mut().into_iter().for_each(|text| cut(text, MAX_TEXT));
    h.routable_ips = h.routable_ips.iter().map(IpNet::trunc).take(MAX_LIST).collect();
    h.request_tags.truncate(MAX_LIST);
    h.services.truncate(MAX_SERVICES);
    h.ssh_host_keys.truncate(MAX_HOST_KEYS);
    h.wol_macs.truncate(MAX_HOST_KEYS);
    h.request_tags.iter_mut().chain(&mut h.wol_macs).for_each(|text| cut(text, MAX_TEXT));
    h.ssh_host_keys.iter_mut().for_each(|text| cut(text, MAX_HOST_KEY));
    for service in &mut h.services {
        cut(&mut service.proto, MAX_TEXT);
        cut(&mut service.description, MAX_TEXT);
    }
    h
}

/// What is kept of the host of a stranger whose login waits: enough to show it to a person and to let it in. Clients tell
/// the rest with their first map request.
pub(super) fn of_a_stranger(told: &Hostinfo) -> Hostinfo {
    let mut h = bounded(told);
    h.services.clear();
    h.ssh_host_keys.clear();
    h.wol_macs.clear();
    h.routable_ips.truncate(MAX_LIST_OF_A_STRANGER);
    h.request_tags.truncate(MAX_LIST_OF_A_STRANGER);
    h
}

fn bounded_net_info(told: &NetInfo) -> NetInfo {
    let mut n = told.clone();
    cut(&mut n.link_type, MAX_TEXT);
    cut(&mut n.firewall_mode, MAX_TEXT);
    n.derp_latency.retain(|region, _| region.len() <= MAX_TEXT);
    while n.derp_latency.len() > MAX_LIST {
        n.derp_latency.pop_last();
    }
    n
}

fn cut(text: &mut String, most: usize) {
    text.truncate(text.floor_char_boundary(most));
}

#[cfg(test)]
mod tests {
    use headsail_wire::hostinfo::Service;

    use super::*;

    #[test]
    fn i9_whatever_a_client_tells_of_its_host_has_a_bound() {
        let long = "日".repeat(MAX_HOST_KEY);
        let service = Service { proto: long.clone(), port: 1, description: long.clone() };
        let mut told = Hostinfo {
            routable_ips: vec!["10.0.0.9/8".parse().unwrap(); MAX_LIST + 1],
            request_tags: vec![long.clone(); MAX_LIST + 1],
            services: vec![service; MAX_SERVICES + 1],
            ssh_host_keys: vec![long.clone(); MAX_HOST_KEYS + 1],
            wol_macs: vec![long.clone(); MAX_HOST_KEYS + 1],
            ..Hostinfo::default()
        };
        told.texts_mut().into_iter().for_each(|text| text.clone_from(&long));
        let mut h = bounded(&told);
        assert_eq!((h.routable_ips.len(), h.request_tags.len()), (MAX_LIST, MAX_LIST));
        assert_eq!((h.ssh_host_keys.len(), h.wol_macs.len()), (MAX_HOST_KEYS, MAX_HOST_KEYS));
        assert_eq!(h.services.len(), MAX_SERVICES);
        assert!(h.ssh_host_keys.iter().all(|text| text.len() <= MAX_HOST_KEY));
        let short = |text: &String| text.len() <= MAX_TEXT;
        assert!(h.request_tags.iter().chain(&h.wol_macs).all(short));
        assert!(h.services.iter().all(|s| short(&s.proto) && short(&s.description)));
        assert!(h.texts_mut().into_iter().all(|text| short(text)));
        let known = of_a_stranger(&told);
        assert_eq!(known.routable_ips.len().max(known.request_tags.len()), MAX_LIST_OF_A_STRANGER);
        assert!(known.services.is_empty() && known.ssh_host_keys.is_empty() && known.wol_macs.is_empty());
    }

    #[test]
    fn i9_measurements_have_a_bound() {
        let long = "x".repeat(MAX_TEXT + 1);
        let mut told = NetInfo { link_type: long.clone(), firewall_mode: long.clone(), ..NetInfo::default() };
        told.derp_latency = (0..=MAX_LIST).map(|n| (format!("{n}-v4"), 0.1)).chain([(long, 0.1)]).collect();
        let n = bounded_net_info(&told);
        assert_eq!(
            (n.link_type.len(), n.firewall_mode.len(), n.derp_latency.len()),
            (MAX_TEXT, MAX_TEXT, MAX_LIST)
        );
        assert!(n.derp_latency.keys().all(|region| region.len() <= MAX_TEXT));
    }
}
