//! Who sees whom under the policy. What else a node receives about its peers is decided in `core/tailnet/src/view.rs`.

use headsail_wire::ids::NodeId;

use crate::engine::fingerprint::Fingerprint;
use crate::engine::{ClassKey, Engine};

impl Engine {
    /// Whether one node is in the other's network map. Visibility is mutual, and no node sees itself.
    pub fn sees(&self, viewer: NodeId, node: NodeId) -> bool {
        if viewer == node {
            return false;
        }
        let (Some(v), Some(n)) = (self.nodes.get(&viewer), self.nodes.get(&node)) else { return false };
        self.class_sees(v.class, n.class)
    }

    /// Whether a node sees other nodes of any of these classes.
    pub fn sees_any(&self, viewer: NodeId, classes: &[ClassKey]) -> bool {
        self.nodes.get(&viewer).is_some_and(|v| classes.iter().any(|c| self.class_sees(v.class, c.0)))
    }

    /// Whether the nodes of one class see those of another, themselves left out.
    pub(crate) fn class_sees(&self, viewer: u32, other: u32) -> bool {
        self.classes.get(viewer as usize).is_some_and(|c| c.sees.has(other as usize))
    }

    /// The nodes that a node sees, ordered by id.
    pub fn visible(&self, viewer: NodeId) -> impl Iterator<Item = NodeId> + use<> {
        let row = self.nodes.get(&viewer).and_then(|v| self.classes.get(v.class as usize));
        let mut seen: Vec<NodeId> = Vec::new();
        if let Some(row) = row {
            let classes = row.sees.iter().filter_map(|c| self.classes.get(c));
            classes.for_each(|c| seen.extend(c.members.iter().filter(|m| **m != viewer)));
        }
        seen.sort_unstable();
        seen.into_iter()
    }

    /// Differs if the set of visible nodes differs. It includes the viewer itself where its class sees itself.
    pub(crate) fn visible_fingerprint(&self, class: u32) -> Fingerprint {
        let Some(row) = self.classes.get(class as usize) else { return Fingerprint::EMPTY };
        row.sees.iter().filter_map(|c| self.classes.get(c)).map(|c| c.ids).sum()
    }
}
