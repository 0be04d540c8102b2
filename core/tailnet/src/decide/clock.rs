//! What happens to a row when its deadline passes.

use std::sync::Arc;

use headsail_wire::time::Time;

use crate::change::Change;
use crate::deadline::{self, Due};
use crate::decide::departure::bury;
use crate::model::node::{Expiry, Node, Presence};
use crate::tailnet::Tailnet;

/// Handles a row whose deadline may have passed. A row that is not due is left alone.
pub(super) fn due(t: &Tailnet, row: &Due, now: Time) -> Vec<Change> {
    if deadline::due(t, row).is_none_or(|at| at > now) {
        return Vec::new();
    }
    match row {
        Due::Node(id) => t.node(*id).map_or_else(Vec::new, |node| node_due(t, node, now)),
        Due::Ticket(id) => vec![Change::TicketGone(id.clone())],
        Due::SshCheck(id) => vec![Change::SshCheckGone(id.clone())],
        Due::Tombstone(key) => vec![Change::TombstoneGone(*key)],
    }
}

fn node_due(t: &Tailnet, node: &Arc<Node>, now: Time) -> Vec<Change> {
    // First, because it needs no store: a deletion that cannot be saved must not stand before it.
    if let Expiry::At(at) = node.expiry
        && at <= now
    {
        return vec![Change::Node(Arc::new(Node { expiry: Expiry::Passed(at), ..Node::clone(node) }))];
    }
    if deadline::ephemeral_end(t, node).is_some_and(|at| at <= now) {
        return bury(t, node, now);
    }
    match node.presence {
        Presence::Lingering { left, until, .. } if until <= now => {
            vec![Change::Presence(node.id, Presence::Offline { since: left })]
        }
        Presence::Lingering { .. } | Presence::Online { .. } | Presence::Offline { .. } => Vec::new(),
    }
}
