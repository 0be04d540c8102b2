//! What a candidate policy would change, and for whom.

use std::collections::{BTreeMap, BTreeSet};

use headsail_wire::ids::NodeId;
use serde::Serialize;

use crate::answers::comparison::Comparison;
use crate::answers::reach::{Open, Place};
use crate::engine::{Engine, NodeRow};

/// What changes between two engines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// The nodes for which something changes, by id.
    pub nodes: Vec<NodePreview>,
    /// Whether there is more than is listed.
    pub truncated: bool,
}

/// What changes for a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodePreview {
    /// The node.
    pub id: NodeId,
    /// Its given name.
    pub name: String,
    /// Nodes that it newly sees, and that see it.
    pub peers_gained: Vec<NodeId>,
    /// Nodes that it no longer sees.
    pub peers_lost: Vec<NodeId>,
    /// What peers can newly reach on it.
    pub ports_gained: Vec<PortChange>,
    /// What peers can no longer reach on it.
    pub ports_lost: Vec<PortChange>,
    /// Whether its SSH policy changes.
    pub ssh: bool,
    /// Whether its own capabilities change.
    pub caps: bool,
}

/// Ports of a node that one of its peers may reach.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PortChange {
    /// The peer.
    pub from: NodeId,
    /// What it reaches: empty for the node itself, else a network behind it, or `the internet`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub at: String,
    /// Ranges, such as `22`, `80-443`, `udp:53`, `*`. Without a protocol, they are for TCP and UDP.
    pub ports: Vec<String>,
}

/// The limit for peers and ports listed in all.
const MAX_ENTRIES: usize = 20_000;

impl Preview {
    /// Compares the answers of two engines about the nodes that are in both.
    pub fn new(before: &Engine, after: &Engine) -> Preview {
        let comparison = Comparison::new(before, after);
        let mut preview = Preview::default();
        let mut left = MAX_ENTRIES;
        for (id, touch) in comparison.touched() {
            let (Some(old), Some(new)) = (before.nodes.get(&id), after.nodes.get(&id)) else { continue };
            let mut entry = NodePreview {
                id,
                name: new.facts.name.clone(),
                peers_gained: Vec::new(),
                peers_lost: Vec::new(),
                ports_gained: Vec::new(),
                ports_lost: Vec::new(),
                ssh: touch.ssh,
                caps: touch.caps,
            };
            if touch.visible {
                let seen = |e: &Engine| e.visible(id).collect::<BTreeSet<_>>();
                let (was, is) = (seen(before), seen(after));
                entry.peers_gained = is.difference(&was).copied().collect();
                entry.peers_lost = was.difference(&is).copied().collect();
            }
            if touch.filter || touch.visible {
                ports(before, after, (old, new), &mut entry);
            }
            let size = entry.size();
            if size == 0 && !touch.ssh && !touch.caps {
                continue;
            }
            if size > left || preview.nodes.len() >= MAX_ENTRIES {
                preview.truncated = true;
                break;
            }
            left -= size;
            preview.nodes.push(entry);
        }
        preview
    }
}

impl NodePreview {
    fn size(&self) -> usize {
        self.peers_gained.len() + self.peers_lost.len() + self.ports_gained.len() + self.ports_lost.len()
    }
}

/// What was gained, and what was lost.
type Difference = (Vec<(Place, Open)>, Vec<(Place, Open)>);

/// Peers that share a class both before and after may reach the same ports, so each pair of classes is compared once.
fn ports(before: &Engine, after: &Engine, (old, new): (&NodeRow, &NodeRow), entry: &mut NodePreview) {
    let peers: BTreeSet<NodeId> = before.visible(entry.id).chain(after.visible(entry.id)).collect();
    let mut known: BTreeMap<(u32, u32), Difference> = BTreeMap::new();
    for peer in peers {
        let (a, b) = (before.nodes.get(&peer), after.nodes.get(&peer));
        let key = (a.map_or(u32::MAX, |r| r.class), b.map_or(u32::MAX, |r| r.class));
        let own = |row: &NodeRow, p: Option<&std::sync::Arc<NodeRow>>| {
            row.facts.user().is_some() && p.and_then(|p| p.facts.user()) == row.facts.user()
        };
        let (gained, lost) = known.entry(key).or_insert_with(|| {
            let was = a.map(|p| before.reach(p.class, old, own(old, a))).unwrap_or_default();
            let is = b.map(|p| after.reach(p.class, new, own(new, b))).unwrap_or_default();
            (is.without(&was), was.without(&is))
        });
        let change = |(place, open): &(Place, Open)| PortChange {
            from: peer,
            at: place.to_string(),
            ports: open.print(),
        };
        entry.ports_gained.extend(gained.iter().map(change));
        entry.ports_lost.extend(lost.iter().map(change));
    }
}
