//! Who is connected, over which connections, and who has heard from whom.

use std::collections::{BTreeMap, BTreeSet};

use headsail_wire::keys::NodeKey;

use crate::limits::MAX_DUPLICATES;

/// A connection, from [`Relay::join`](crate::Relay::join) to [`Relay::leave`](crate::Relay::leave). Numbers are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnId(pub(crate) u32);

impl ConnId {
    /// A small number, fit to index a table that grows with the number of connections.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The nodes that have at least one connection.
#[derive(Default)]
pub(crate) struct Nodes {
    by_key: BTreeMap<NodeKey, Node>,
    duplicated: usize,
}

struct Node {
    /// Ordered by who joined or spoke last: the last one receives.
    conns: Vec<ConnId>,
    /// Connections of others that got packets from this node, and shall hear when it leaves.
    heard_by: BTreeSet<ConnId>,
}

impl Nodes {
    /// Adds a connection; it is the one that receives. Takes out and returns the one that is too many.
    pub(crate) fn join(&mut self, key: NodeKey, conn: ConnId) -> Option<ConnId> {
        let node =
            self.by_key.entry(key).or_insert_with(|| Node { conns: Vec::new(), heard_by: BTreeSet::new() });
        node.conns.push(conn);
        if node.conns.len() == 2 {
            self.duplicated += 1;
        }
        (node.conns.len() > MAX_DUPLICATES).then(|| node.conns.remove(0))
    }

    /// Removes a connection. If it was the node's last, returns the connections that heard from the node.
    pub(crate) fn leave(&mut self, key: &NodeKey, conn: ConnId) -> Option<BTreeSet<ConnId>> {
        let node = self.by_key.get_mut(key)?;
        let before = node.conns.len();
        node.conns.retain(|&other| other != conn);
        if before == 2 && node.conns.len() == 1 {
            self.duplicated -= 1;
        }
        if !node.conns.is_empty() {
            return None;
        }
        self.by_key.remove(key).map(|node| node.heard_by)
    }

    /// The connection that receives for a node.
    pub(crate) fn active(&self, key: &NodeKey) -> Option<ConnId> {
        self.by_key.get(key)?.conns.last().copied()
    }

    /// All connections of a node.
    pub(crate) fn conns(&self, key: &NodeKey) -> &[ConnId] {
        self.by_key.get(key).map_or(&[], |node| &node.conns)
    }

    /// Notes that a connection has spoken. True if it has thereby become the one that receives.
    pub(crate) fn spoke(&mut self, key: &NodeKey, conn: ConnId) -> bool {
        if self.duplicated == 0 {
            return false;
        }
        let Some(node) = self.by_key.get_mut(key) else { return false };
        if node.conns.last() == Some(&conn) {
            return false;
        }
        let Some(at) = node.conns.iter().position(|&other| other == conn) else { return false };
        node.conns.remove(at);
        node.conns.push(conn);
        true
    }

    /// Notes that a connection got a packet from a node.
    pub(crate) fn heard(&mut self, from: &NodeKey, by: ConnId) {
        if let Some(node) = self.by_key.get_mut(from) {
            node.heard_by.insert(by);
        }
    }

    /// Forgets what [`Nodes::heard`] noted.
    pub(crate) fn unhear(&mut self, from: &NodeKey, by: ConnId) {
        if let Some(node) = self.by_key.get_mut(from) {
            node.heard_by.remove(&by);
        }
    }

    /// Keys with more than one connection.
    pub(crate) fn duplicated(&self) -> usize {
        self.duplicated
    }
}
