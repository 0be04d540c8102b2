//! The full view of a node.

use std::collections::BTreeMap;
use std::sync::Arc;

use headsail_netmap::NetMap;
use headsail_wire::ids::NodeId;
use headsail_wire::user::UserProfile;

use crate::tailnet::Tailnet;
use crate::view;

/// Everything that a node ought to know; `None` if there is no such node.
pub fn project(t: &Tailnet, viewer: NodeId) -> Option<NetMap> {
    let me = t.node(viewer)?;
    let mut profiles: BTreeMap<_, UserProfile> = BTreeMap::new();
    let own = t.profile(&me.owner);
    profiles.insert(own.id, own);
    let mut peers = BTreeMap::new();
    for node in t.nodes() {
        let Some(peer) = view::peer(t, me, node) else { continue };
        profiles.entry(peer.user).or_insert_with(|| t.profile(&node.owner));
        peers.insert(node.id, Arc::new(peer));
    }
    Some(NetMap {
        me: Arc::new(view::me(t, me)),
        peers,
        filters: view::filters(t, me),
        dns: view::dns(t, me),
        derp: t.settings().derp.clone(),
        ssh: view::ssh(t, me),
        profiles,
        domain: t.settings().base_domain.clone(),
    })
}
