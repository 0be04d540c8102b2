//! The sources of packet filter rules: sets of sources, their fingerprints, and how they are written out.

use std::collections::BTreeSet;
use std::net::IpAddr;

use headsail_wire::ids::{NodeId, UserId};

use crate::engine::Engine;
use crate::engine::fingerprint::Fingerprint;
use crate::engine::program::{List, ListId};
use crate::text::net::{ANY_SOURCE, Net, is_exit_route};

/// Where traffic may come from: a list of the policy, or the nodes of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sources {
    List(ListId),
    Owner(UserId),
}

/// A set of sources. Equal keys mean equal sources, within one engine and across engines.
#[derive(Clone, Copy, Debug)]
pub struct SourceKey {
    fingerprint: Fingerprint,
    sources: Sources,
}

impl SourceKey {
    pub(crate) fn new(fingerprint: Fingerprint, sources: Sources) -> SourceKey {
        SourceKey { fingerprint, sources }
    }

    /// The key as a number, for tables.
    pub fn number(self) -> u128 {
        self.fingerprint.bits()
    }
}

impl PartialEq for SourceKey {
    fn eq(&self, other: &SourceKey) -> bool {
        self.fingerprint == other.fingerprint
    }
}
impl Eq for SourceKey {}

impl Engine {
    /// The sources of a part, written out.
    pub fn sources(&self, key: SourceKey) -> Vec<String> {
        if self.policy.is_none() { vec!["*".into()] } else { self.source_text(key.sources) }
    }

    /// The nodes that a list matches by identity, by id; not those that only have an address in it.
    pub(crate) fn named_nodes(&self, list: ListId) -> Vec<NodeId> {
        let (Some(l), Some(hits)) = (self.list(list), self.list_classes.get(list)) else { return Vec::new() };
        if l.identities.is_empty() {
            return Vec::new();
        }
        let classes = hits.iter().filter_map(|c| self.classes.get(c));
        let named = classes.filter(|c| l.identities.iter().any(|s| c.signature.has(*s)));
        let mut nodes: Vec<NodeId> = named.flat_map(|c| c.members.iter().copied()).collect();
        nodes.sort_unstable();
        nodes
    }

    /// Sources as the official service writes them: each address of a node by itself, literals as they are, no
    /// duplicates.
    pub(crate) fn source_text(&self, sources: Sources) -> Vec<String> {
        let (list, nodes) = match sources {
            Sources::Owner(user) => {
                (None, self.owners.get(&user).map(|o| o.nodes.clone()).unwrap_or_default())
            }
            Sources::List(id) => (self.list(id), self.named_nodes(id)),
        };
        let mut out = Vec::new();
        if let Some(l) = list {
            if l.danger {
                return vec!["*".into()];
            }
            if l.any {
                out.extend(ANY_SOURCE.iter().map(|s| s.to_string()));
            }
            // Sorted, so that nothing moves if a literal becomes a route as well.
            let routes = self.subnet_routes().filter(|_| l.any).map(|r| Net::Prefix(*r));
            let literals = l.nets.iter().filter_map(|s| self.program.net(*s));
            let mut nets: Vec<Net> = routes.chain(literals).collect();
            nets.sort();
            out.extend(nets.iter().map(Net::to_string));
        }
        let literals = out.len();
        out.reserve(nodes.len() * 2);
        for row in nodes.iter().filter_map(|n| self.nodes.get(n)) {
            out.extend_from_slice(&row.address_text);
        }
        if literals > 0 {
            let mut seen = BTreeSet::new();
            out.retain(|t| seen.insert(t.clone()));
        }
        out
    }

    /// Equal for equal sets of sources; empty for the empty set.
    pub(crate) fn sources_fingerprint(&self, sources: Sources) -> Fingerprint {
        if self.policy.is_none() {
            return Fingerprint::everything();
        }
        let id = match sources {
            Sources::Owner(user) => return self.owners.get(&user).map(|o| o.addresses).unwrap_or_default(),
            Sources::List(id) => id,
        };
        let Some(l) = self.list(id) else { return Fingerprint::EMPTY };
        if l.danger {
            return Fingerprint::everything();
        }
        let mut all = self.list_fingerprints.get(id).copied().unwrap_or_default();
        if l.any {
            all += self.routes_fingerprint + Fingerprint::of_number(1);
            let nets = l.nets.iter().filter_map(|s| self.program.net(*s));
            let again = nets.filter(|n| self.is_written_for_any(n));
            again.for_each(|n| all -= Fingerprint::of_net(&n));
        }
        all += self.program.literals.get(id).copied().unwrap_or_default();
        // An address of a node that the list also matches by identity counts once.
        let nets = if l.identities.is_empty() { &[] } else { l.nets.as_slice() };
        let twice = nets.iter().filter_map(|s| self.program.net(*s)?.single());
        let is_once = |a: &IpAddr| !(l.any && self.is_written_for_any(&Net::from(*a)));
        twice
            .filter(|a| is_once(a) && self.names_address(l, *a))
            .for_each(|a| all -= Fingerprint::of_address(a));
        all
    }

    /// Whether `*` already includes a literal where it is written out, so that it counts once.
    fn is_written_for_any(&self, net: &Net) -> bool {
        match net {
            Net::Prefix(p) if self.routes.get(p).is_some() => !is_exit_route(p),
            _ => ANY_SOURCE.contains(&net.to_string().as_str()),
        }
    }

    /// Whether an address belongs to a node that the list matches by identity.
    fn names_address(&self, list: &List, a: IpAddr) -> bool {
        let node = self.by_addr.get(&a).and_then(|n| self.nodes.get(n));
        let class = node.and_then(|n| self.classes.get(n.class as usize));
        class.is_some_and(|c| list.identities.iter().any(|s| c.signature.has(*s)))
    }
}
