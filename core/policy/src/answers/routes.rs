//! Routes: which router is primary, who may use a route, and which are approved automatically.

use headsail_wire::ids::NodeId;
use ipnet::IpNet;

use crate::engine::facts::NodeFacts;
use crate::engine::program::Section;
use crate::engine::route_table::RouteRow;
use crate::engine::{Engine, NodeRow};
use crate::text::net::is_exit_route;

/// Elects the primary router of a prefix: the previous one as long as it is a candidate, else the lowest id.
///
/// `candidates` are the nodes that advertise the prefix, are approved for it, and are available.
pub fn elect(previous: Option<NodeId>, candidates: impl IntoIterator<Item = NodeId>) -> Option<NodeId> {
    let mut lowest = None;
    for c in candidates {
        if Some(c) == previous {
            return previous;
        }
        if lowest.is_none_or(|l| c < l) {
            lowest = Some(c);
        }
    }
    lowest
}

impl Engine {
    /// The subnet routes that are served, in order.
    pub fn subnet_routes(&self) -> impl Iterator<Item = &IpNet> {
        self.routes.iter().map(|(r, _)| r).filter(|r| !is_exit_route(r))
    }

    /// The routes of `node` that `viewer` receives: they go into `AllowedIPs` and, except exit routes, into
    /// `PrimaryRoutes`. Sorted.
    pub fn allowed_routes(&self, viewer: NodeId, node: NodeId) -> Vec<IpNet> {
        let (Some(v), Some(n)) = (self.nodes.get(&viewer), self.nodes.get(&node)) else { return Vec::new() };
        if n.facts.approved.is_empty() || !self.sees(viewer, node) {
            return Vec::new();
        }
        self.routes_given(v.class, n)
    }

    /// The routes of a node that viewers of a class get if they see the node.
    pub(crate) fn routes_given(&self, viewers: u32, node: &NodeRow) -> Vec<IpNet> {
        node.facts.serves().filter(|r| self.is_given(viewers as usize, node, r)).copied().collect()
    }

    fn is_given(&self, class: usize, node: &NodeRow, route: &IpNet) -> bool {
        let Some(row) = self.routes.get(route) else { return false };
        let plain = row.source_lists.iter().any(|l| self.in_list(*l, class));
        if !plain {
            let via: Vec<&Section> = row
                .via_sections
                .iter()
                .filter_map(|i| self.program.sections.get(*i))
                .filter(|s| self.in_list(s.src, class))
                .collect();
            if is_exit_route(route) {
                return via.iter().any(|s| self.is_via(node.facts.id, s));
            }
            if !via.is_empty() {
                let routers = row.servers.iter().copied().filter(|n| via.iter().any(|s| self.is_via(*n, s)));
                return self.elect_router(routers, route) == Some(node.facts.id);
            }
        }
        if is_exit_route(route) {
            return plain;
        }
        node.facts.primary.contains(route)
            && (plain || self.class_serves(class, route) || self.is_source_for(row, class))
    }

    fn class_serves(&self, class: usize, route: &IpNet) -> bool {
        self.classes.get(class).is_some_and(|c| c.signature.routes.contains(route))
    }

    fn is_source_for(&self, row: &RouteRow, class: usize) -> bool {
        let sections = row.source_sections.iter().filter_map(|i| Some((*i, self.program.sections.get(*i)?)));
        sections.into_iter().any(|(i, s)| self.target_classes(i, s).is_some_and(|b| b.has(class)))
    }

    fn is_via(&self, node: NodeId, section: &Section) -> bool {
        let class = self.nodes.get(&node).and_then(|n| self.classes.get(n.class as usize));
        class.is_some_and(|c| section.via.iter().any(|t| c.signature.has(*t)))
    }

    /// Among the routers that a grant names, the elected primary if it is one of them; else the winner of an election
    /// among them.
    fn elect_router(&self, routers: impl Iterator<Item = NodeId>, route: &IpNet) -> Option<NodeId> {
        let facts: Vec<&NodeFacts> = routers.filter_map(|n| self.node(n)).collect();
        let primary = facts.iter().find(|f| f.primary.contains(route)).map(|f| f.id);
        let available = facts.iter().filter(|f| f.available).map(|f| f.id);
        elect(primary, primary.into_iter().chain(available)).or_else(|| facts.first().map(|f| f.id))
    }

    /// Whether the policy approves a route of a node automatically (`autoApprovers`).
    pub fn may_approve(&self, node: NodeId, route: &IpNet) -> bool {
        let Some(row) = self.nodes.get(&node) else { return false };
        let class = row.class as usize;
        if is_exit_route(route) {
            return self.in_list(self.program.approve_exit, class);
        }
        let covering = self.program.approve.iter().filter(|(prefix, _)| prefix.contains(route));
        covering.into_iter().any(|(_, who)| self.in_list(*who, class))
    }
}
