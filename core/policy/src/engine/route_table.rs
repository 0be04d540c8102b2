//! The routes that nodes serve, and which rules concern each.

use std::sync::Arc;

use headsail_wire::ids::NodeId;
use ipnet::IpNet;

use crate::engine::Engine;
use crate::engine::facts::NodeFacts;
use crate::engine::fingerprint::Fingerprint;
use crate::engine::program::{ListId, Program, Section};
use crate::engine::signature::Signature;
use crate::text::net::{Net, is_exit_route, reaches_internet};

/// A route that is served, and the parts of the policy that concern it.
#[derive(Clone, Debug, Default)]
pub(crate) struct RouteRow {
    /// The nodes that serve it; sorted.
    pub servers: Vec<NodeId>,
    /// Source lists of the rules that reach it.
    pub source_lists: Vec<ListId>,
    /// Sections that reach it through the routers that they name (`via`).
    pub via_sections: Vec<usize>,
    /// Sections of which it is a source; one for each set of destinations.
    pub source_sections: Vec<usize>,
}

/// Whether a section that overrides its targets arrives at nodes with this signature: at routers that carry its traffic
/// (`via`), or at nodes that themselves have an address on which it grants capabilities.
pub(crate) fn override_matches(program: &Program, section: &Section, signature: &Signature) -> bool {
    if section.by_address {
        return program.lists.get(section.dst).is_some_and(|l| l.sels().any(|s| signature.matches_itself(s)));
    }
    section.via.iter().any(|t| signature.has(*t))
        && signature.routes.iter().any(|r| covers(program, section.dst, r))
}

/// Whether a list contains addresses of a route.
fn covers(program: &Program, list: ListId, route: &IpNet) -> bool {
    let Some(list) = program.lists.get(list) else { return false };
    let over = |s: &u32| match program.net(*s) {
        Some(net) => net.overlaps(&Net::Prefix(*route)) && (!is_exit_route(route) || net.is_everything()),
        None => Some(*s) == program.internet && reaches_internet(route),
    };
    list.all() || list.nets.iter().any(over)
}

impl RouteRow {
    pub fn new(program: &Program, route: &IpNet) -> RouteRow {
        let mut row = RouteRow::default();
        let mut back_to = Vec::new();
        for (i, s) in program.sections.iter().enumerate().filter(|(_, s)| !s.to_self) {
            if covers(program, s.dst, route) && !s.by_address {
                if s.via.is_empty() {
                    row.source_lists.push(s.src);
                } else {
                    row.via_sections.push(i);
                }
            }
            if !is_exit_route(route) && covers(program, s.src, route) {
                let to = (s.dst, s.via.clone());
                if !back_to.contains(&to) {
                    back_to.push(to);
                    row.source_sections.push(i);
                }
            }
        }
        row.source_lists.sort();
        row.source_lists.dedup();
        row
    }
}

impl Engine {
    /// Adds a node to the servers of its routes, or removes it.
    pub(crate) fn serve_routes(&mut self, facts: &NodeFacts, on: bool) {
        for route in facts.serves() {
            let found = self.routes.get(route).cloned();
            let known = found.is_some();
            let mut row = found.unwrap_or_else(|| Arc::new(RouteRow::new(&self.program, route)));
            let servers = &mut Arc::make_mut(&mut row).servers;
            servers.retain(|s| *s != facts.id);
            if on {
                servers.push(facts.id);
                servers.sort();
            }
            let fingerprint = if is_exit_route(route) {
                Fingerprint::EMPTY
            } else {
                Fingerprint::of_net(&Net::Prefix(*route))
            };
            if servers.is_empty() {
                self.routes.remove(route);
                if known {
                    self.routes_fingerprint -= fingerprint;
                }
            } else {
                self.routes.insert(*route, row);
                if !known {
                    self.routes_fingerprint += fingerprint;
                }
            }
        }
    }

    /// Works out again which rules concern which route, after an edit of the rules.
    pub(crate) fn rebuild_route_rows(&mut self) {
        let known: Vec<(IpNet, Arc<RouteRow>)> =
            self.routes.iter().map(|(r, row)| (*r, row.clone())).collect();
        for (route, row) in known {
            let renewed = RouteRow { servers: row.servers.clone(), ..RouteRow::new(&self.program, &route) };
            self.routes.insert(route, Arc::new(renewed));
        }
    }
}
