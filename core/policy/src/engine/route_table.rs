//! A route, and which rules speak of it.

use std::sync::Arc;

use headsail_wire::ids::NodeId;
use ipnet::IpNet;

use crate::engine::Engine;
use crate::engine::facts::NodeFacts;
use crate::engine::fingerprint::text_mix;
use crate::engine::program::{ListId, Program, Section};
use crate::engine::signature::Signature;
use crate::text::net::{Net, is_exit_route, reaches_internet};

/// A route that is served, and the parts of the policy that speak of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct RouteRow {
    /// Who serves it; sorted.
    pub servers: Vec<NodeId>,
    /// Source lists of the rules that reach it.
    pub from: Vec<ListId>,
    /// Sections that reach it through chosen routers.
    pub steered: Vec<usize>,
    /// Sections of which it is a source; one for each destination.
    pub back: Vec<usize>,
}

/// Whether a picky section arrives at nodes of this kind: routers that carry the traffic of one with `via`, and nodes
/// that have an address on which capabilities are granted.
pub(crate) fn carries(program: &Program, section: &Section, signature: &Signature) -> bool {
    if section.addressed {
        return program.lists.get(section.dst).is_some_and(|l| l.sels().any(|s| signature.is_itself(s)));
    }
    section.via.iter().any(|t| signature.has(*t))
        && signature.routes.iter().any(|r| covers(program, section.dst, r))
}

/// Whether a list of destinations, or sources, has addresses of a route in it.
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
        for (i, s) in program.sections.iter().enumerate().filter(|(_, s)| !s.own) {
            if covers(program, s.dst, route) && !s.addressed {
                match s.via.is_empty() {
                    true => row.from.push(s.src),
                    false => row.steered.push(i),
                }
            }
            if !is_exit_route(route) && covers(program, s.src, route) {
                let to = (s.dst, s.via.clone());
                if !back_to.contains(&to) {
                    back_to.push(to);
                    row.back.push(i);
                }
            }
        }
        row.from.sort();
        row.from.dedup();
        row
    }
}

impl Engine {
    /// Enters a node's routes into the table, or takes them out.
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
            let sum = if is_exit_route(route) { 0 } else { text_mix(&route.to_string()) };
            if servers.is_empty() {
                self.routes.remove(route);
                self.routes_sum = self.routes_sum.wrapping_sub(if known { sum } else { 0 });
            } else {
                self.routes.insert(*route, row);
                self.routes_sum = self.routes_sum.wrapping_add(if known { 0 } else { sum });
            }
        }
    }

    /// Looks up anew which rules speak of which route, after an edit of the rules.
    pub(crate) fn renew_routes(&mut self) {
        let known: Vec<(IpNet, Arc<RouteRow>)> =
            self.routes.iter().map(|(r, row)| (*r, row.clone())).collect();
        for (route, row) in known {
            let renewed = RouteRow { servers: row.servers.clone(), ..RouteRow::new(&self.program, &route) };
            self.routes.insert(route, Arc::new(renewed));
        }
    }
}
