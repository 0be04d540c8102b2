//! Map streams come and go.

use headsail_wire::capver::CapVer;
use headsail_wire::hostinfo::Hostinfo;
use headsail_wire::ids::NodeId;
use headsail_wire::time::Time;

use crate::change::Change;
use crate::command::{Rejection, Telling};
use crate::decide::host::{complete_strangers_hostinfo, take_hostinfo, take_net_info};
use crate::decide::map_update::{changes_of, take_endpoints};
use crate::model::node::{Node, Presence, RegisterMethod, StreamNo};
use crate::tailnet::Tailnet;

/// A stream opens: the node is online, and an older stream is superseded. What it tells may be older than what a lite
/// update told, so each part counts only where nothing is known (capability version 68 and later).
pub(super) fn opened(
    t: &Tailnet,
    id: NodeId,
    stream: StreamNo,
    telling: &Telling,
    now: Time,
) -> Result<Vec<Change>, Rejection> {
    let node = t.node(id).ok_or_else(|| Rejection::NotFound("this node was deleted".into()))?;
    let mut next = Node::clone(node);
    let cap = telling.cap;
    if node.contact.endpoints.is_empty() {
        take_endpoints(&mut next, &telling.endpoints);
    }
    if node.contact.disco_key.is_zero() {
        next.contact.disco_key = telling.disco_key;
    }
    if let Some(mut told) = telling.hostinfo.clone() {
        let measured = told.net_info.take().filter(|_| node.contact.net_info.is_none());
        if let Some(net_info) = measured {
            take_net_info(&mut next, &net_info);
        }
        // A host is known since it registered, unless it told nothing then, or had to wait for a person.
        if *node.hostinfo == Hostinfo::default() {
            take_hostinfo(t, &mut next, &told);
        } else if node.method != RegisterMethod::AuthKey && node.contact.disco_key.is_zero() {
            complete_strangers_hostinfo(&mut next, &told);
        }
    }
    if cap != CapVer::default() {
        next.cap = cap;
    }
    let mut changes = changes_of(node, next);
    let since = match node.presence {
        Presence::Online { since, .. } | Presence::Lingering { since, .. } => since,
        Presence::Offline { .. } => now,
    };
    changes.push(Change::Presence(id, Presence::Online { since, stream }));
    Ok(changes)
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
