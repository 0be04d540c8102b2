//! Nodes go, and what is left of them; and what keeps those that go by themselves.

use std::sync::Arc;

use headsail_wire::time::Time;

use crate::change::Change;
use crate::model::node::{MAX_TOMBSTONES, Node, Presence, Tombstone};
use crate::tailnet::Tailnet;

/// A node is deleted. It leaves a tombstone, so that its client hears that it has to log in again; where there are too
/// many, the oldest gives way.
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

/// The presence of an ephemeral node that has just given a sign of life without a stream: the time after which it is
/// deleted begins anew. `None` for all others.
pub(super) fn alive(node: &Node, now: Time) -> Option<Presence> {
    match node.presence {
        _ if !node.ephemeral => None,
        Presence::Online { .. } => None,
        Presence::Lingering { since, until, .. } => Some(Presence::Lingering { since, left: now, until }),
        Presence::Offline { .. } => Some(Presence::Offline { since: now }),
    }
}
