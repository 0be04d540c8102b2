//! The projection: a node's full view of its tailnet.

use std::collections::BTreeMap;
use std::sync::Arc;

use headsail_netmap::NetMap;
use headsail_wire::ids::NodeId;
use headsail_wire::user::UserProfile;

use crate::model::node::Node;
use crate::tailnet::Tailnet;
use crate::view;

/// Everything that a node should know; `None` if there is no such node.
pub fn project(t: &Tailnet, viewer: NodeId) -> Option<NetMap> {
    let me = t.node(viewer)?;
    let peers =
        visible(t, viewer).filter_map(|node| Some((node.id, Arc::new(view::peer(t, me, node)?)))).collect();
    Some(NetMap { peers, ..without_peers(t, viewer)? })
}

/// The nodes that a viewer sees, ordered by id.
pub fn visible(t: &Tailnet, viewer: NodeId) -> impl Iterator<Item = &Arc<Node>> {
    let viewer = t.node(viewer).filter(|node| view::is_shown_others(node)).map(|node| node.id);
    viewer.into_iter().flat_map(|id| t.access().engine().visible(id)).filter_map(|id| t.node(id))
}

/// Everything but the peers: the part that is rendered for each viewer separately. It includes the profiles of the peers'
/// owners.
pub fn without_peers(t: &Tailnet, viewer: NodeId) -> Option<NetMap> {
    let me = t.node(viewer)?;
    let own = t.profile(&me.owner);
    let mut profiles: BTreeMap<_, UserProfile> = BTreeMap::from([(own.id, own)]);
    for node in visible(t, viewer) {
        profiles.entry(view::shown_owner(node)).or_insert_with(|| t.profile(&node.owner));
    }
    Some(NetMap {
        me: Arc::new(view::me(t, me)),
        peers: BTreeMap::new(),
        filters: view::filters(t, me),
        dns: view::dns(t, me),
        derp: t.settings().derp.clone(),
        ssh: view::ssh(t, me),
        profiles,
        domain: t.settings().base_domain.clone(),
    })
}
