//! The deletion of nodes, and what postpones that of ephemeral ones.

use std::sync::Arc;

use headsail_wire::time::Time;

use crate::change::Change;
use crate::model::node::{MAX_TOMBSTONES, Node, Presence, Tombstone};
use crate::tailnet::Tailnet;

/// Deletes a node. A tombstone remains, so that the server can tell the client to log in again. If there are too many
/// tombstones, the oldest is dropped.
pub(super) fn bury(t: &Tailnet, node: &Node, now: Time) -> Vec<Change> {
    let mut changes = Vec::new();
    if t.tombstones.len() >= MAX_TOMBSTONES {
        let oldest = t.tombstones.iter().map(|(key, stone)| (stone.deleted, *key)).min();
        changes.extend(oldest.map(|(_, key)| Change::TombstoneGone(key)));
    }
    let Node { id, node_key, machine_key, .. } = *node;
    changes.push(Change::NodeGone(id));
    changes.push(Change::Tombstone(Arc::new(Tombstone { node: id, node_key, machine_key, deleted: now })));
    changes
}

/// The new presence of an ephemeral node that has made a request without having a stream: the timeout after which it is
/// deleted starts again. `None` for all other nodes.
pub(super) fn alive(node: &Node, now: Time) -> Option<Presence> {
    match node.presence {
        _ if !node.ephemeral => None,
        Presence::Online { .. } => None,
        Presence::Lingering { since, until, .. } => Some(Presence::Lingering { since, left: now, until }),
        Presence::Offline { .. } => Some(Presence::Offline { since: now }),
    }
}
