//! Nodes go, and what is left of them; and what keeps those that go by themselves.

use std::sync::Arc;

use headsail_wire::time::Time;

use crate::change::Change;
use crate::model::node::{MAX_TOMBSTONES, Node, Presence, Tombstone};
use crate::tailnet::Tailnet;

/// Nodes are deleted. Each leaves a tombstone, so that its client hears that it has to log in again; where there are too
/// many, the oldest give way.
pub(super) fn bury(t: &Tailnet, nodes: &[Arc<Node>], now: Time) -> Vec<Change> {
    let remembered = nodes.len().min(MAX_TOMBSTONES);
    let surplus = (t.tombstones.len() + remembered).saturating_sub(MAX_TOMBSTONES);
    let mut changes = Vec::new();
    if surplus > 0 {
        let mut oldest: Vec<_> = t.tombstones.iter().map(|(key, s)| (s.deleted, *key)).collect();
        oldest.sort_unstable();
        changes.extend(oldest.into_iter().take(surplus).map(|(_, key)| Change::TombstoneGone(key)));
    }
    changes.extend(nodes.iter().map(|n| Change::NodeGone(n.id)));
    changes.extend(nodes.iter().take(remembered).map(|n| {
        Change::Tombstone(Arc::new(Tombstone {
            node: n.id,
            node_key: n.node_key,
            machine_key: n.machine_key,
            deleted: now,
        }))
    }));
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
