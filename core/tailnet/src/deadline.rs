//! Deadlines of rows. The clerk sleeps until the earliest one.

use std::collections::{BTreeMap, BTreeSet};

use headsail_wire::ids::NodeId;
use headsail_wire::keys::NodeKey;
use headsail_wire::time::Time;

use crate::change::Change;
use crate::model::node::{Expiry, Node, Presence, TOMBSTONE_SECS};
use crate::tailnet::Tailnet;

/// A row that has a deadline.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// The end of a node's grace period, the expiry of its key, or the deletion of an ephemeral node.
    Node(NodeId),
    /// The ticket is deleted.
    Ticket(String),
    /// The SSH check is deleted.
    SshCheck(String),
    /// The tombstone is deleted.
    Tombstone(NodeKey),
}

/// The deadlines of all rows. Whoever applies changes to a tailnet also maintains its deadlines.
#[derive(Default)]
pub struct Deadlines {
    by_row: BTreeMap<Due, Time>,
    by_time: BTreeSet<(Time, Due)>,
}

impl Deadlines {
    /// The deadlines of all rows of a tailnet.
    pub fn of(tailnet: &Tailnet) -> Deadlines {
        let mut out = Deadlines::default();
        let nodes: Vec<Due> = tailnet.nodes().map(|n| Due::Node(n.id)).collect();
        let stones: Vec<Due> = tailnet.tombstones.iter().map(|(key, _)| Due::Tombstone(*key)).collect();
        let tickets: Vec<Due> = tailnet.tickets().map(|ticket| Due::Ticket(ticket.id.clone())).collect();
        let checks: Vec<Due> = tailnet.ssh_checks().map(|c| Due::SshCheck(c.id.clone())).collect();
        for row in nodes.into_iter().chain(stones).chain(tickets).chain(checks) {
            out.set(tailnet, row);
        }
        out
    }

    /// Updates the deadlines of the rows in `changes`, which must have been applied to `tailnet`.
    pub fn note<'c>(&mut self, tailnet: &Tailnet, changes: impl IntoIterator<Item = &'c Change>) {
        for change in changes {
            match change {
                Change::Node(node) => self.set(tailnet, Due::Node(node.id)),
                Change::NodeGone(id) | Change::Contact(id, _) | Change::Presence(id, _) => {
                    self.set(tailnet, Due::Node(*id));
                }
                Change::Ticket(ticket) => self.set(tailnet, Due::Ticket(ticket.id.clone())),
                Change::TicketGone(id) => self.set(tailnet, Due::Ticket(id.clone())),
                Change::SshCheck(check) => self.set(tailnet, Due::SshCheck(check.id.clone())),
                Change::SshCheckGone(id) => self.set(tailnet, Due::SshCheck(id.clone())),
                Change::Tombstone(stone) => self.set(tailnet, Due::Tombstone(stone.node_key)),
                Change::TombstoneGone(key) => self.set(tailnet, Due::Tombstone(*key)),
                Change::Settings(_) => *self = Deadlines::of(tailnet),
                Change::User(_)
                | Change::UserGone(_)
                | Change::AuthKey(_)
                | Change::AuthKeyGone(_)
                | Change::ApiKey(_)
                | Change::ApiKeyGone(_)
                | Change::Policy(_)
                | Change::NextId(..) => {}
            }
        }
    }

    fn set(&mut self, tailnet: &Tailnet, row: Due) {
        if let Some(old) = self.by_row.remove(&row) {
            self.by_time.remove(&(old, row.clone()));
        }
        if let Some(at) = due(tailnet, &row) {
            self.by_time.insert((at, row.clone()));
            self.by_row.insert(row, at);
        }
    }

    /// The earliest deadline.
    pub fn deadline(&self) -> Option<Time> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// The rows that are due at `now`, earliest first, at most `limit`.
    pub fn due(&self, now: Time, limit: usize) -> Vec<Due> {
        self.by_time.iter().take_while(|(at, _)| *at <= now).take(limit).map(|(_, row)| row.clone()).collect()
    }
}

/// The deadline of a row, if it has one.
pub fn due(tailnet: &Tailnet, row: &Due) -> Option<Time> {
    match row {
        Due::Node(id) => tailnet.node(*id).and_then(|n| node_due(tailnet, n)),
        Due::Ticket(id) => tailnet.ticket(id).map(|t| t.until),
        Due::SshCheck(id) => tailnet.ssh_check(id).map(|c| c.until),
        Due::Tombstone(key) => tailnet.tombstone(key).map(|s| s.deleted.plus_secs(TOMBSTONE_SECS)),
    }
}

fn node_due(tailnet: &Tailnet, node: &Node) -> Option<Time> {
    let expiry = match node.expiry {
        Expiry::At(t) => Some(t),
        Expiry::Never | Expiry::Passed(_) => None,
    };
    [expiry, grace_over(node), ephemeral_end(tailnet, node)].into_iter().flatten().min()
}

/// When a lingering node counts as offline.
pub fn grace_over(node: &Node) -> Option<Time> {
    match node.presence {
        Presence::Lingering { until, .. } => Some(until),
        Presence::Online { .. } | Presence::Offline { .. } => None,
    }
}

/// When an ephemeral node that is offline is deleted.
pub fn ephemeral_end(tailnet: &Tailnet, node: &Node) -> Option<Time> {
    match node.presence {
        Presence::Offline { since } if node.ephemeral => {
            Some(since.plus_secs(tailnet.settings().ephemeral_timeout))
        }
        Presence::Offline { .. } | Presence::Online { .. } | Presence::Lingering { .. } => None,
    }
}
