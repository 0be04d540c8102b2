//! Map streams come and go.

use headsail_wire::capver::CapVer;
use headsail_wire::ids::NodeId;
use headsail_wire::time::Time;

use crate::change::Change;
use crate::command::{Rejection, Telling};
use crate::decide::map_update::{take, told_apart};
use crate::model::node::{Node, Presence, StreamNo};
use crate::tailnet::Tailnet;

/// A stream opens: the node is online, and an older stream is superseded. What it tells may be older than what a lite
/// update told, so it counts only where nothing is known (capability version 68 and later).
pub(super) fn opened(
    t: &Tailnet,
    id: NodeId,
    stream: StreamNo,
    telling: Telling,
    now: Time,
) -> Result<Vec<Change>, Rejection> {
    let node = t.node(id).ok_or_else(|| Rejection::NotFound("this node was deleted".into()))?;
    let mut next = Node::clone(node);
    let cap = telling.cap;
    if nothing_known(node) {
        take(t, &mut next, telling);
    } else if node.contact.net_info.is_none() {
        // After a restart from old rows the home relay alone may be missing.
        next.contact.net_info = telling.hostinfo.and_then(|h| h.net_info).map(std::sync::Arc::new);
    }
    if cap != CapVer::default() {
        next.cap = cap;
    }
    let mut changes = told_apart(node, next);
    let since = match node.presence {
        Presence::Online { since, .. } | Presence::Lingering { since, .. } => since,
        Presence::Offline { .. } => now,
    };
    changes.push(Change::Presence(id, Presence::Online { since, stream }));
    Ok(changes)
}

fn nothing_known(node: &Node) -> bool {
    node.contact.endpoints.is_empty() && node.contact.disco_key.is_zero()
}

/// A stream has ended: its node lingers for the grace. Where a newer stream has taken over, nothing changes.
pub(super) fn closed(t: &Tailnet, id: NodeId, stream: StreamNo, now: Time) -> Vec<Change> {
    let Some(node) = t.node(id) else { return Vec::new() };
    match node.presence {
        Presence::Online { since, stream: current } if current == stream => {
            let until = now.plus_millis(t.settings().grace_millis);
            vec![Change::Presence(id, Presence::Lingering { since, left: now, until })]
        }
        _ => Vec::new(),
    }
}

/// The server stops: the rows keep who was connected, so that the next start gives them the grace to come back.
pub(super) fn shutdown(t: &Tailnet, now: Time) -> Vec<Change> {
    let lingering =
        |since| Presence::Lingering { since, left: now, until: now.plus_millis(t.settings().grace_millis) };
    t.nodes()
        .filter_map(|n| match n.presence {
            Presence::Online { since, .. } => Some(Change::Presence(n.id, lingering(since))),
            Presence::Lingering { .. } | Presence::Offline { .. } => None,
        })
        .collect()
}
