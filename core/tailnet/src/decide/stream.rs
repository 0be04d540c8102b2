//! Map streams open and close.

use std::sync::Arc;

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

/// A stream opens: its node is online, and an older stream is superseded. What the client reports with it may be older
/// than what it sent with a lite update, so each part is used only if nothing is known yet (capability version 68 and
/// later). A node whose login has expired may wait on a stream to learn that it is valid again, but reports nothing.
pub(super) fn opened(
    t: &Tailnet,
    id: NodeId,
    stream: StreamNo,
    telling: &Telling,
    now: Time,
) -> Result<Vec<Change>, Rejection> {
    let node = t.node(id).ok_or_else(|| Rejection::NotFound("this node was deleted".into()))?;
    let mut changes = if node.expiry.is_past() { Vec::new() } else { reported(t, node, telling) };
    let since = match node.presence {
        Presence::Online { since, .. } | Presence::Lingering { since, .. } => since,
        Presence::Offline { .. } => now,
    };
    changes.push(Change::Presence(id, Presence::Online { since, stream }));
    Ok(changes)
}

/// What the report that comes with a stream changes.
fn reported(t: &Tailnet, node: &Arc<Node>, telling: &Telling) -> Vec<Change> {
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
        // The host is known since it registered, unless it reported nothing then or its login had to be approved.
        if *node.hostinfo == Hostinfo::default() {
            take_hostinfo(t, &mut next, &told);
        } else if node.method != RegisterMethod::AuthKey && node.contact.disco_key.is_zero() {
            complete_strangers_hostinfo(&mut next, &told);
        }
    }
    if cap != CapVer::default() {
        next.cap = cap;
    }
    changes_of(node, next)
}

/// A stream ends: its node lingers for the grace period. If a newer stream has taken over, this is a no-op.
pub(super) fn closed(t: &Tailnet, id: NodeId, stream: StreamNo, now: Time) -> Vec<Change> {
    let Some(node) = t.node(id) else { return Vec::new() };
    match node.presence {
        Presence::Online { since, stream: current } if current == stream => {
            let until = now.plus_millis(t.settings().grace_millis);
            vec![Change::Presence(id, Presence::Lingering { since, left: now, until })]
        }
        Presence::Online { .. } | Presence::Lingering { .. } | Presence::Offline { .. } => Vec::new(),
    }
}

/// The server stops: the rows record which nodes were connected, so that they have the grace period to come back after the
/// next startup.
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
