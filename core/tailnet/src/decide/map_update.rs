//! What a client tells of itself.

use std::net::SocketAddr;
use std::sync::Arc;

use headsail_wire::ids::NodeId;
use headsail_wire::keys::{MachineKey, NodeKey};
use headsail_wire::time::Time;

use crate::change::Change;
use crate::command::{Rejection, Telling};
use crate::decide::departure::alive;
use crate::decide::host::take_hostinfo;
use crate::model::node::Node;
use crate::tailnet::Tailnet;

/// How many endpoints of a node are kept.
pub const MAX_ENDPOINTS: usize = 64;

/// The node that a map request speaks for.
///
/// # Errors
/// Zero and unknown keys, and keys of other machines (invariant I10).
pub fn node_of<'a>(t: &'a Tailnet, machine: &MachineKey, key: &NodeKey) -> Result<&'a Arc<Node>, Rejection> {
    if key.is_zero() {
        return Err(Rejection::Invalid("the node key is missing".into()));
    }
    let node = t
        .node_by_key(key)
        .ok_or_else(|| Rejection::NotFound("this node key is not registered here".into()))?;
    if node.machine_key != *machine {
        return Err(Rejection::Foreign);
    }
    Ok(node)
}

pub(super) fn update(t: &Tailnet, id: NodeId, telling: &Telling, now: Time) -> Result<Vec<Change>, Rejection> {
    let node = t.node(id).ok_or_else(|| Rejection::NotFound("this node was deleted".into()))?;
    let mut next = Node::clone(node);
    take(t, &mut next, telling);
    let mut changes = changes_of(node, next);
    changes.extend(alive(node, now).map(|presence| Change::Presence(id, presence)));
    Ok(changes)
}

/// Takes over everything that a client tells.
fn take(t: &Tailnet, node: &mut Node, telling: &Telling) {
    node.cap = telling.cap;
    if !telling.disco_key.is_zero() {
        node.contact.disco_key = telling.disco_key;
    }
    take_endpoints(node, &telling.endpoints);
    if let Some(hostinfo) = &telling.hostinfo {
        take_hostinfo(t, node, hostinfo);
    }
}

/// Takes over where a node can be reached, up to the bound.
pub(super) fn take_endpoints(node: &mut Node, told: &[SocketAddr]) {
    node.contact.endpoints = told.iter().take(MAX_ENDPOINTS).copied().collect();
}

/// What a client has made of its row: all of it where something lasting changed, else only where the node can be
/// reached.
pub(super) fn changes_of(was: &Arc<Node>, next: Node) -> Vec<Change> {
    if next == **was {
        return Vec::new();
    }
    let contact_alone = Node { contact: was.contact.clone(), ..next.clone() } == **was;
    vec![if contact_alone { Change::Contact(next.id, next.contact) } else { Change::Node(Arc::new(next)) }]
}
