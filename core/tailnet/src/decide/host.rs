//! What a client tells of its host, taken over and bounded.

use std::sync::Arc;

use headsail_wire::hostinfo::Hostinfo;
use ipnet::IpNet;

use crate::decide::policy;
use crate::model::name;
use crate::model::node::Node;
use crate::tailnet::Tailnet;

/// What a client may tell at most of lists that it fills itself.
const MAX_LIST: usize = 1024;

/// Takes over what a client tells of its host. Network measurements that are missing stay as they were; the name follows
/// the host's unless an administrator chose one.
pub(super) fn take_hostinfo(t: &Tailnet, node: &mut Node, told: &Hostinfo) {
    if let Some(net_info) = &told.net_info {
        let mut net_info = net_info.clone();
        if net_info.preferred_derp == 0 {
            // Clients that know a peer's home relay can't be told that it has none any more; it keeps the last one.
            net_info.preferred_derp = node.contact.home_derp();
        }
        if node.contact.net_info.as_deref() != Some(&net_info) {
            node.contact.net_info = Some(Arc::new(net_info));
        }
    }
    let told = Hostinfo { net_info: None, ..told.clone() };
    if *node.hostinfo != told {
        node.hostinfo = Arc::new(told);
    }
    if node.hostname != node.hostinfo.hostname {
        node.hostname = node.hostinfo.hostname.clone();
        if !node.name_pinned {
            let label = name::label_of(&node.hostname);
            node.name = name::unique(&label, |n| t.node_by_name(n).is_some_and(|other| other.id != node.id));
        }
    }
    bound_hostinfo(node);
    policy::auto_approve(t, node);
}

/// Cuts the lists that a client fills itself, and masks its routes.
fn bound_hostinfo(node: &mut Node) {
    let h = &node.hostinfo;
    let untidy = h.routable_ips.iter().any(|r| r.trunc() != *r)
        || [
            h.routable_ips.len(),
            h.request_tags.len(),
            h.services.len(),
            h.ssh_host_keys.len(),
            h.wol_macs.len(),
        ]
        .iter()
        .any(|len| *len > MAX_LIST);
    if !untidy {
        return;
    }
    let mut h = Hostinfo::clone(h);
    h.routable_ips = h.routable_ips.iter().map(IpNet::trunc).take(MAX_LIST).collect();
    h.request_tags.truncate(MAX_LIST);
    h.services.truncate(MAX_LIST);
    h.ssh_host_keys.truncate(MAX_LIST);
    h.wol_macs.truncate(MAX_LIST);
    node.hostinfo = Arc::new(h);
}
