//! What a client reports about itself with a map request.

use std::net::SocketAddr;
use std::sync::Arc;

use headsail_wire::capver::CapVer;
use headsail_wire::ids::NodeId;
use headsail_wire::keys::{MachineKey, NodeKey};
use headsail_wire::time::Time;

use crate::change::Change;
use crate::command::{Rejection, Telling};
use crate::decide::departure::alive;
use crate::decide::host::take_hostinfo;
use crate::model::node::Node;
use crate::tailnet::Tailnet;

/// Maximum number of endpoints of a node; the rest are ignored.
pub const MAX_ENDPOINTS: usize = 64;

/// The node that a map request speaks for.
///
/// # Errors
/// The node key is zero, unknown, or belongs to another machine (invariant I10).
pub fn node_of<'a>(t: &'a Tailnet, machine: &MachineKey, key: &NodeKey) -> Result<&'a Arc<Node>, Rejection> {
    if key.is_zero() {
        return Err(Rejection::Invalid("the node key is missing".into()));
    }
    let node = t
        .node_by_key(key)
        .ok_or_else(|| Rejection::NotFound("this node key is not registered with this server".into()))?;
    if node.machine_key != *machine {
        return Err(Rejection::Foreign);
    }
    Ok(node)
}

/// A node reports what has changed. Until a node whose login has expired logs in again, it is refused: clients repeat the
/// report until it is accepted.
pub(super) fn update(
    t: &Tailnet,
    id: NodeId,
    telling: &Telling,
    now: Time,
) -> Result<Vec<Change>, Rejection> {
    let node = t.node(id).ok_or_else(|| Rejection::NotFound("this node was deleted".into()))?;
    if node.expiry.is_past() {
        return Err(Rejection::KeyExpired);
    }
    let mut next = Node::clone(node);
    take(t, &mut next, telling);
    let mut changes = changes_of(node, next);
    changes.extend(alive(node, now).map(|presence| Change::Presence(id, presence)));
    Ok(changes)
}

/// Stores everything that a client reports.
fn take(t: &Tailnet, node: &mut Node, telling: &Telling) {
    if telling.cap != CapVer::default() {
        node.cap = telling.cap;
    }
    if !telling.disco_key.is_zero() {
        node.contact.disco_key = telling.disco_key;
    }
    take_endpoints(node, &telling.endpoints);
    if let Some(hostinfo) = &telling.hostinfo {
        take_hostinfo(t, node, hostinfo);
    }
}

/// Stores a node's endpoints, up to [`MAX_ENDPOINTS`].
pub(super) fn take_endpoints(node: &mut Node, told: &[SocketAddr]) {
    node.contact.endpoints = told.iter().take(MAX_ENDPOINTS).copied().collect();
}

/// The change from one version of a node to another: the whole row, or only the contact if nothing else changed.
pub(super) fn changes_of(was: &Arc<Node>, next: Node) -> Vec<Change> {
    if next == **was {
        return Vec::new();
    }
    let contact_alone = Node { contact: was.contact.clone(), ..next.clone() } == **was;
    vec![if contact_alone { Change::Contact(next.id, next.contact) } else { Change::Node(Arc::new(next)) }]
}
