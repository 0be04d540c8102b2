//! What happens by itself when its time has come.

use std::sync::Arc;

use headsail_wire::time::Time;

use crate::change::Change;
use crate::deadline::{self, Due};
use crate::decide::departure::bury;
use crate::model::node::{Expiry, Node, Presence};
use crate::tailnet::Tailnet;

/// Looks at rows whose time may have come; what isn't due yet is left alone.
pub(super) fn due_rows(t: &Tailnet, rows: Vec<Due>, now: Time) -> Vec<Change> {
    let (mut changes, mut gone) = (Vec::new(), Vec::new());
    for row in rows {
        if deadline::due(t, &row).is_none_or(|at| at > now) {
            continue;
        }
        match row {
            Due::Node(id) => match t.node(id) {
                Some(node) if deadline::ephemeral_end(t, node).is_some_and(|at| at <= now) => {
                    gone.push(node.clone());
                }
                node => changes.extend(node.and_then(|n| node_due(n, now))),
            },
            Due::Ticket(id) => changes.push(Change::TicketGone(id)),
            Due::SshCheck(id) => changes.push(Change::SshCheckGone(id)),
            Due::Tombstone(key) => changes.push(Change::TombstoneGone(key)),
        }
    }
    changes.extend(bury(t, &gone, now));
    changes
}

fn node_due(node: &Arc<Node>, now: Time) -> Option<Change> {
    if let Presence::Lingering { left, until, .. } = node.presence
        && until <= now
    {
        return Some(Change::Presence(node.id, Presence::Offline { since: left }));
    }
    match node.expiry {
        Expiry::At(at) if at <= now => {
            Some(Change::Node(Arc::new(Node { expiry: Expiry::Passed(at), ..Node::clone(node) })))
        }
        _ => None,
    }
}
