//! Which nodes are connected, over which connections, and which connections got packets from them.

use std::collections::{BTreeMap, BTreeSet};

use headsail_wire::keys::NodeKey;

use crate::limits::MAX_DUPLICATES;

/// The id of a connection, valid from [`Relay::join`](crate::Relay::join) to [`Relay::leave`](crate::Relay::leave). Ids
/// are reused after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnId(pub(crate) u32);

impl ConnId {
    /// The id as an index into a table. Indices are dense: they stay below the highest number of connections so far.
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
    /// In the order in which they joined or last sent something; the last one receives.
    conns: Vec<ConnId>,
    /// Connections of other nodes that got packets from this node and are notified when it disconnects.
    heard_by: BTreeSet<ConnId>,
}

impl Nodes {
    /// Adds a connection, which becomes the one that receives. If that is one too many, removes and returns the one that
    /// has been silent longest.
    pub(crate) fn join(&mut self, key: NodeKey, conn: ConnId) -> Option<ConnId> {
        let node =
            self.by_key.entry(key).or_insert_with(|| Node { conns: Vec::new(), heard_by: BTreeSet::new() });
        node.conns.push(conn);
        if node.conns.len() == 2 {
            self.duplicated += 1;
        }
        (node.conns.len() > MAX_DUPLICATES).then(|| node.conns.remove(0))
    }

    /// Removes a connection. If it was the node's last, returns the connections that got packets from the node.
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

    /// The connection over which a node receives.
    pub(crate) fn active(&self, key: &NodeKey) -> Option<ConnId> {
        self.by_key.get(key)?.conns.last().copied()
    }

    /// All connections of a node.
    pub(crate) fn conns(&self, key: &NodeKey) -> &[ConnId] {
        self.by_key.get(key).map_or(&[], |node| &node.conns)
    }

    /// Records that a connection has sent something. True if this made it the one that receives.
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

    /// Records that a connection got a packet from a node.
    pub(crate) fn heard(&mut self, from: &NodeKey, by: ConnId) {
        if let Some(node) = self.by_key.get_mut(from) {
            node.heard_by.insert(by);
        }
    }

    /// Undoes [`Nodes::heard`].
    pub(crate) fn forget_heard(&mut self, from: &NodeKey, by: ConnId) {
        if let Some(node) = self.by_key.get_mut(from) {
            node.heard_by.remove(&by);
        }
    }

    /// How many keys have more than one connection.
    pub(crate) fn duplicated(&self) -> usize {
        self.duplicated
    }
}
