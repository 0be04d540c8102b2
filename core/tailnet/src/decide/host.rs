//! Stores what a client reports about its host, within limits.

use std::sync::Arc;

use headsail_wire::hostinfo::{Hostinfo, NetInfo};
use ipnet::IpNet;

use crate::decide::policy;
use crate::model::name;
use crate::model::node::Node;
use crate::tailnet::Tailnet;

/// Maximum length of a text in bytes. The longest DNS name has 253.
const MAX_TEXT: usize = 255;
/// Maximum number of routes and of tags.
const MAX_LIST: usize = 1024;
/// Maximum number of services. If asked to, clients report everything that listens on the host.
const MAX_SERVICES: usize = 256;
/// Maximum number of SSH host keys and of hardware addresses. A host has one per key type and per network interface.
const MAX_HOST_KEYS: usize = 32;
/// Maximum length of an SSH host key in bytes, enough for the text of an RSA key with 16,384 bits.
const MAX_HOST_KEY: usize = 4096;
/// Maximum number of routes and of tags while the login is pending.
const MAX_LIST_OF_A_STRANGER: usize = 64;

/// Stores what a client reports about its host. An empty report changes nothing, and a missing host name or missing
/// network measurements keep their old values. The node's name follows the host's unless an administrator chose one.
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

/// Stores the host of a login that was pending. The parts that [`of_a_stranger`] removed keep their old values.
pub(super) fn take_strangers_hostinfo(t: &Tailnet, node: &mut Node, told: &Hostinfo) {
    if *told == Hostinfo::default() {
        return take_hostinfo(t, node, told);
    }
    let Hostinfo { services, ssh_host_keys, wol_macs, .. } = Hostinfo::clone(&node.hostinfo);
    take_hostinfo(t, node, &Hostinfo { services, ssh_host_keys, wol_macs, ..told.clone() });
}

/// Stores the parts that [`of_a_stranger`] removed while the login was pending, unless they have been reported since.
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
            node.name = name::unique(&label, |n| !t.is_name_free(n, Some(node.id)));
        }
    }
}

/// Stores a client's measurements of its network.
pub(super) fn take_net_info(node: &mut Node, told: &NetInfo) {
    let mut net_info = bounded_net_info(told);
    if net_info.preferred_derp == 0 {
        // There is no way to tell clients that a peer's home relay was cleared, so the node keeps its last one.
        net_info.preferred_derp = node.contact.home_derp();
    }
    if node.contact.net_info.as_deref() != Some(&net_info) {
        node.contact.net_info = Some(Arc::new(net_info));
    }
}

/// What a client reports, with its routes masked, and cut to lengths that no real client exceeds. A node's row is sent to
/// peers and stored on disk, so its size must be limited whatever the client sends.
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

/// The parts of a host to keep while a login is pending: enough to show it to a person and to admit it. Clients report the
/// rest again with their first map request.
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
    fn i9_everything_a_client_reports_about_its_host_is_bounded() {
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
    fn i9_network_measurements_are_bounded() {
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
