//! Decides whether one party may reach another. `tests`, `sshTests` and explanations ask this, about nodes as well as
//! about users, tags and addresses that have no node.

use std::collections::BTreeSet;
use std::net::IpAddr;

use headsail_wire::filter::PortRange;
use headsail_wire::ids::{NodeId, UserId};

use crate::engine::Engine;
use crate::engine::facts::{NodeFacts, Owner};
use crate::engine::program::{Body, List, Section, Target};
use crate::engine::signature::Signature;
use crate::text::net::{ANY_SOURCE, EXIT_ROUTES, Net, is_exit_route};
use crate::text::ports::ALL_PORTS;
use crate::text::quote::shown;
use crate::text::selector::{Auto, Selector};

/// One end of the traffic in question.
#[derive(Clone, Debug, Default)]
pub(crate) struct Party {
    pub node: Option<NodeId>,
    pub signature: Signature,
    pub addresses: Vec<IpAddr>,
    /// A prefix, meant as a whole.
    pub prefix: Option<Net>,
    pub owner: Option<UserId>,
    /// Whether `*` as a source includes it.
    pub in_any: bool,
    pub internet: bool,
}

impl Party {
    /// Whether it is a user or tag without a node.
    pub fn is_hypothetical(&self) -> bool {
        self.node.is_none() && self.addresses.is_empty() && self.prefix.is_none() && !self.internet
    }

    pub fn is_in(&self, list: &List) -> bool {
        list.danger || (list.any && self.in_any) || list.sels().any(|s| self.signature.has(s))
    }
}

impl Engine {
    /// A node as a party.
    pub(crate) fn party(&self, id: NodeId) -> Option<Party> {
        let facts = self.node(id)?;
        // Serving a route does not make the router itself a source or a destination.
        let signature = self.signature(&NodeFacts { approved: Vec::new(), ..facts.clone() });
        let addresses = facts.addresses().collect();
        let owner = facts.user();
        Some(Party { node: Some(id), signature, addresses, owner, in_any: true, ..Party::default() })
    }

    /// A user or tag without a node.
    fn hypothetical(&self, owner: Owner) -> Option<Party> {
        let user = match &owner {
            Owner::User(id) => Some(*id),
            Owner::Tags(_) => None,
        };
        let signature = self.signature(&NodeFacts::new(NodeId::new(NodeId::MAX)?, owner, None, None));
        Some(Party { signature, owner: user, in_any: true, ..Party::default() })
    }

    /// A single address. Rules that name its node by identity match it too, but not rules with other addresses of the
    /// node.
    fn address_party(&self, a: IpAddr) -> Party {
        let node = self.by_addr.get(&a).and_then(|n| self.party(*n)).unwrap_or_default();
        let mut sels = node.signature.sels;
        sels.retain(|s| self.program.net(*s).is_none());
        self.program.nets_containing(a, &mut sels);
        sels.sort();
        let pool = ANY_SOURCE.iter().filter_map(|t| Net::parse(t)).any(|n| n.contains(a));
        let in_any = pool || self.subnet_routes().any(|r| r.contains(&a));
        let signature = Signature { sels, ..node.signature };
        Party { signature, addresses: vec![a], in_any, ..node }
    }

    /// The parties that a name in a test or a question stands for: nodes, or one hypothetical node if there are none.
    /// Empty if the name means nobody. Of nodes that the policy can't tell apart, only one is returned.
    pub(crate) fn parties(&self, name: &str) -> Vec<Party> {
        let mut parties = self.all_parties(name);
        let mut seen = BTreeSet::new();
        parties.retain(|p| {
            // Where an address without a node leads depends on who routes it.
            let routed = if p.node.is_some() { Vec::new() } else { p.addresses.clone() };
            seen.insert((p.signature.sels.clone(), p.owner, p.prefix, p.node.is_some(), p.in_any, routed))
        });
        parties
    }

    /// Why a known name stands for nobody (yet), for messages; `None` if the name is unknown.
    pub(crate) fn why_empty(&self, name: &str) -> Option<String> {
        let empty = match Selector::parse(name) {
            Selector::Auto(Auto::Internet) => return Some("there is no exit node yet".into()),
            Selector::IpSet(set) => {
                let known = self.policy.document.ipset_index(&set).is_some();
                return known.then(|| format!("`{set}` has no addresses"));
            }
            Selector::Group(group) => self.policy.document.group(&group).is_some(),
            Selector::Domain(domain) => self.program.by_domain.contains_key(&domain),
            Selector::Auto(Auto::Member | Auto::Tagged | Auto::Role(_) | Auto::Shared) => true,
            _ => false,
        };
        empty.then(|| format!("`{}` has no members yet", shown(name.trim())))
    }

    fn all_parties(&self, name: &str) -> Vec<Party> {
        match Selector::parse(name) {
            Selector::Any => vec![Party { in_any: true, ..Party::default() }],
            Selector::Auto(Auto::Internet) if EXIT_ROUTES.iter().any(|r| self.routes.get(r).is_some()) => {
                vec![Party { internet: true, ..Party::default() }]
            }
            Selector::Tag(t) if self.tag_exists(&t) => {
                let tagged = self.nodes().filter(|n| n.tags().contains(&t));
                self.or_hypothetical(tagged.map(|n| n.id).collect(), || Owner::Tags(vec![t.clone()]))
            }
            Selector::Auto(Auto::Tagged) => {
                self.nodes().filter(|n| n.user().is_none()).filter_map(|n| self.party(n.id)).collect()
            }
            literal @ (Selector::Net(_) | Selector::Host(_) | Selector::IpSet(_)) => {
                let party = |n: &Net| match n.single() {
                    Some(a) => self.address_party(a),
                    None => Party { prefix: Some(*n), ..Party::default() },
                };
                self.policy.document.addresses(&literal).iter().map(party).collect()
            }
            Selector::User(token) => self.people(self.users_named(&token)),
            people @ (Selector::Group(_)
            | Selector::Domain(_)
            | Selector::Auto(Auto::Member | Auto::Role(_))) => {
                self.people(self.users().map(|u| u.id).filter(|u| self.is_user(*u, &people)).collect())
            }
            _ => Vec::new(),
        }
    }

    pub(crate) fn people(&self, users: Vec<UserId>) -> Vec<Party> {
        let nodes = |u: &UserId| self.owners.get(u).map(|o| o.nodes.clone()).unwrap_or_default();
        users.iter().flat_map(|u| self.or_hypothetical(nodes(u), || Owner::User(*u))).collect()
    }

    fn or_hypothetical(&self, nodes: Vec<NodeId>, owner: impl Fn() -> Owner) -> Vec<Party> {
        if nodes.is_empty() {
            return self.hypothetical(owner()).into_iter().collect();
        }
        nodes.into_iter().filter_map(|n| self.party(n)).collect()
    }

    /// The first section that allows traffic from `src` to `dst`.
    pub(crate) fn allows(
        &self,
        src: &Party,
        dst: &Party,
        protocol: Option<u8>,
        port: u16,
    ) -> Option<(usize, &Section)> {
        let sections = self.program.sections.iter().enumerate();
        sections.into_iter().find(|(i, s)| self.section_allows(*i, s, src, dst, protocol, port))
    }

    fn section_allows(
        &self,
        index: usize,
        s: &Section,
        src: &Party,
        dst: &Party,
        protocol: Option<u8>,
        port: u16,
    ) -> bool {
        let Body::Ports { protocol: opened, to } = &s.body else { return false };
        // Clients admit pings to every address with an open port (`matchIPsOnly`, `wgengine/filter/match.go`).
        let ping = matches!(protocol, Some(1 | 58));
        let protocol_ok = match (protocol, opened) {
            _ if ping => true,
            (None, None) => true,
            (None, Some(o)) => matches!(o, 6 | 17),
            (Some(p), None) => matches!(p, 6 | 17),
            (Some(p), Some(o)) => p == *o,
        };
        if !protocol_ok || (s.to_self && (src.owner.is_none() || src.owner != dst.owner)) {
            return false;
        }
        let from = self.list(s.src).is_some_and(|l| src.is_in(l) || self.prefix_in(l, src));
        let portless = protocol.is_some_and(|p| !crate::text::ports::has_ports(p));
        let port_ok = |ports: &[PortRange]| {
            let open =
                |p: &PortRange| if portless { *p == ALL_PORTS } else { p.first <= port && port <= p.last };
            ping || ports.iter().any(open)
        };
        from && to.iter().any(|(t, ports)| port_ok(ports) && self.target_reaches(index, s, t, dst))
    }

    pub(crate) fn prefix_in(&self, list: &List, party: &Party) -> bool {
        let Some(prefix) = party.prefix else { return false };
        list.nets.iter().filter_map(|n| self.program.net(*n)).any(|n| n.covers(&prefix))
    }

    pub(crate) fn target_reaches(
        &self,
        index: usize,
        section: &Section,
        target: &Target,
        dst: &Party,
    ) -> bool {
        let routed = |a: &IpAddr| section.via.is_empty() || self.is_carried(index, section, *a);
        match target {
            Target::Net(net) if dst.prefix.is_none() => {
                dst.addresses.iter().any(|a| net.contains(*a) && routed(a))
            }
            // A rule with `via` concerns networks behind routers; it opens nothing on the nodes that it names.
            Target::Nodes(_) if !section.via.is_empty() => false,
            target => target_matches(target, dst),
        }
    }

    /// Whether one of the routers of a section (`via`) routes an address.
    fn is_carried(&self, index: usize, section: &Section, a: IpAddr) -> bool {
        let routes = self.routes.iter().filter(|(r, _)| !is_exit_route(r) && r.contains(&a));
        routes
            .flat_map(|(_, row)| &row.servers)
            .filter_map(|n| self.nodes.get(n))
            .any(|n| self.target_classes(index, section).is_some_and(|b| b.has(n.class as usize)))
    }
}

/// Whether a target includes a destination, whoever would carry the traffic there.
pub(crate) fn target_matches(target: &Target, dst: &Party) -> bool {
    match target {
        Target::SelfOwned | Target::Any => true,
        Target::Nodes(sel) => dst.signature.has(*sel),
        Target::Internet => {
            dst.internet || (dst.node.is_none() && dst.addresses.iter().any(|a| is_public(*a)))
        }
        Target::Net(net) => {
            dst.addresses.iter().any(|a| net.contains(*a)) || dst.prefix.is_some_and(|p| net.covers(&p))
        }
    }
}

/// Whether an address is on the internet.
pub(crate) fn is_public(a: IpAddr) -> bool {
    crate::text::net::INTERNET.iter().filter_map(|t| Net::parse(t)).any(|n| n.contains(a))
}
