//! The packet filter of a node: what of the policy concerns it, merged as the official service merges it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use headsail_wire::filter::{CapGrant, CapMap, FilterRule, NetPortRange, PortRange};
use headsail_wire::ids::{NodeId, UserId};

use crate::engine::cow::Bits;
use crate::engine::fingerprint::{address_mix, literal_mix, mix, text_mix};
use crate::engine::program::{Body, ListId, Section, Target};
use crate::engine::{Engine, NodeRow};
use crate::text::net::{ANY_SOURCE, INTERNET, Net, is_exit_route};

/// From where traffic may come: a list of the policy, or the nodes of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sources {
    List(ListId),
    Owner(UserId),
}

/// A set of sources. Equal keys stand for equal sources, of one engine value and across values.
#[derive(Clone, Copy, Debug)]
pub struct SourceKey {
    print: u128,
    sources: Sources,
}

impl SourceKey {
    /// A number that is the key, for tables.
    pub fn number(self) -> u128 {
        self.print
    }
}

impl PartialEq for SourceKey {
    fn eq(&self, other: &SourceKey) -> bool {
        self.print == other.print
    }
}
impl Eq for SourceKey {}

/// A rule of a packet filter whose sources are not written out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name among the parts of a node's filter; two rules may share one.
    pub name: String,
    /// Its sources, to be written out by [`Engine::sources`].
    pub sources: SourceKey,
    /// Destinations and their ports.
    pub dst_ports: Vec<NetPortRange>,
    /// Protocol numbers; empty means TCP, UDP and ICMP.
    pub ip_proto: Vec<i32>,
    /// Capabilities granted.
    pub cap_grant: Vec<CapGrant>,
}

/// A filter rule whose sources are not written out yet, so that rules can be compared cheaply.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub sources: Sources,
    /// Sum over the sources; equal for equal sets of sources.
    pub print: u128,
    /// Index of the section that it comes from first.
    pub section: usize,
    /// Where the rule stands whose part it is; see [`crate::engine::program::Program::leads`].
    pub lead: usize,
    pub protocol: Option<u8>,
    pub ports: Vec<NetPortRange>,
    pub caps: Option<CapGrant>,
}

impl Engine {
    /// The packet filter of a node, in the order of the service: rules with the same sources and protocol are one, which
    /// stands where the first of them stands in the policy, be that about this node or another.
    ///
    /// Sources can be long and are the same for many nodes; where many filters are rendered, use [`Engine::parts`] and
    /// render each [`SourceKey`] once.
    pub fn filter(&self, node: NodeId) -> Vec<FilterRule> {
        let mut pieces = self.pieces(node);
        pieces.sort_by_key(|p| p.lead);
        let write = |p: Part| FilterRule {
            src_ips: self.sources(p.sources),
            dst_ports: p.dst_ports,
            ip_proto: p.ip_proto,
            cap_grant: p.cap_grant,
        };
        pieces.into_iter().map(|p| write(self.part(p))).collect()
    }

    /// The packet filter of a node as named parts (`MapResponse.PacketFilters`), in the order of the policy. A part is named
    /// after what its rule says: the name stays while sources come and go and while other rules are edited, so that only
    /// parts that changed travel. The order of rules does not matter to a client: a packet passes that any rule lets pass.
    pub fn parts(&self, node: NodeId) -> Vec<Part> {
        self.pieces(node).into_iter().map(|p| self.part(p)).collect()
    }

    fn part(&self, p: Piece) -> Part {
        Part {
            name: self.part_name(&p),
            sources: SourceKey { print: p.print, sources: p.sources },
            dst_ports: p.ports,
            ip_proto: p.protocol.map(i32::from).into_iter().collect(),
            cap_grant: p.caps.into_iter().collect(),
        }
    }

    fn part_name(&self, p: &Piece) -> String {
        self.program.sections.get(p.section).map_or_else(String::new, |s| format!("rule-{:016x}", s.key))
    }

    /// The sources of a part, written out.
    pub fn sources(&self, key: SourceKey) -> Vec<String> {
        if self.policy.is_none() { vec!["*".into()] } else { self.source_text(key.sources) }
    }

    /// The rules of a node, merged, with their sources not written out.
    pub(crate) fn pieces(&self, node: NodeId) -> Vec<Piece> {
        let Some(row) = self.nodes.get(&node) else { return Vec::new() };
        let mut out: Vec<Piece> = Vec::new();
        let mut places: BTreeMap<(u128, Option<u8>), usize> = BTreeMap::new();
        for (index, section) in self.program.sections.iter().enumerate() {
            let Some((sources, mut piece)) = self.piece(row, index, section) else { continue };
            piece.sources = sources;
            piece.print = self.print_of(sources);
            if piece.caps.is_some() {
                out.push(piece);
                continue;
            }
            let place = *places.entry((piece.print, piece.protocol)).or_insert(out.len());
            match out.get_mut(place) {
                Some(first) => {
                    first.lead = first.lead.min(piece.lead);
                    first.ports.append(&mut piece.ports);
                }
                None => out.push(piece),
            }
        }
        out
    }

    /// Adds the classes on which a section can put something.
    pub(crate) fn add_concerned(&self, index: usize, section: &Section, to: &mut Bits) {
        if section.own || matches!(section.body, Body::Companion { .. }) {
            self.hits.get(section.src).into_iter().for_each(|b| to.add(b));
        }
        if !section.own {
            self.reached(index, section).into_iter().for_each(|b| to.add(b));
        }
    }

    /// Whether a section can put something on the nodes of a class.
    pub(crate) fn concerns(&self, index: usize, section: &Section, class: usize) -> bool {
        let at_source = section.own || matches!(section.body, Body::Companion { .. });
        (at_source && self.in_list(section.src, class))
            || (!section.own && self.reached(index, section).is_some_and(|b| b.has(class)))
    }

    /// What a section puts on a node, if anything.
    fn piece(&self, row: &NodeRow, index: usize, section: &Section) -> Option<(Sources, Piece)> {
        let class = row.class as usize;
        let companion = matches!(section.body, Body::Companion { .. });
        let sources = match section.own {
            true => Sources::Owner(row.facts.user().filter(|_| self.in_list(section.src, class))?),
            false if companion && self.in_list(section.src, class) => Sources::List(section.dst),
            false if !companion && self.reached(index, section)?.has(class) => Sources::List(section.src),
            false => return None,
        };
        let lead = self.program.leads.get(index).copied().unwrap_or(index);
        let mut piece =
            Piece { sources, print: 0, section: index, lead, protocol: None, ports: Vec::new(), caps: None };
        match &section.body {
            Body::Ports { protocol, to } => {
                piece.protocol = *protocol;
                for (target, ports) in to {
                    for ip in self.addressed(row, target, section) {
                        let port = |p: &PortRange| NetPortRange { ip: ip.clone(), ports: *p };
                        piece.ports.extend(ports.iter().map(port));
                    }
                }
                if piece.ports.is_empty() || self.print_of(sources) == 0 {
                    return None;
                }
            }
            Body::Caps { caps, to } => piece.caps = Some(self.grant(row, to, caps)?),
            Body::Companion { caps } => piece.caps = Some(self.grant(row, &[Target::Own], caps)?),
        }
        Some((sources, piece))
    }

    /// The destinations in a rule for a node, as text, when the rule speaks of `target`.
    pub(crate) fn addressed(&self, row: &NodeRow, target: &Target, section: &Section) -> Vec<String> {
        let own = || row.text.clone();
        let has = |s: &u32| self.classes.get(row.class as usize).is_some_and(|c| c.signature.has(*s));
        match target {
            Target::Own => own(),
            Target::Nodes(sel) if section.via.is_empty() && has(sel) => own(),
            Target::Any => vec!["*".into()],
            Target::Internet if self.program.internet.as_ref().is_some_and(has) => {
                INTERNET.iter().map(|s| s.to_string()).collect()
            }
            Target::Net(net) if net.is_everything() => vec![net.to_string()],
            Target::Net(net) => {
                let served =
                    || row.facts.serves().any(|r| !is_exit_route(r) && net.overlaps(&Net::Prefix(*r)));
                let mine = || section.via.is_empty() && row.facts.addresses().any(|a| net.contains(a));
                if mine() || served() { vec![net.to_string()] } else { Vec::new() }
            }
            Target::Nodes(_) | Target::Internet => Vec::new(),
        }
    }

    /// A grant of capabilities at a node's own addresses; routes have none.
    fn grant(&self, row: &NodeRow, to: &[Target], caps: &CapMap) -> Option<CapGrant> {
        let has = |s: &u32| self.classes.get(row.class as usize).is_some_and(|c| c.signature.has(*s));
        let meant = |a: &IpAddr| {
            to.iter().any(|t| match t {
                Target::Own | Target::Any => true,
                Target::Nodes(sel) => has(sel),
                Target::Net(net) => net.contains(*a),
                Target::Internet => false,
            })
        };
        let single = |a: IpAddr| ipnet::IpNet::from(a).to_string();
        let dsts: Vec<String> = row.facts.addresses().filter(meant).map(single).collect();
        (!dsts.is_empty()).then(|| CapGrant { dsts, caps: Vec::new(), cap_map: caps.clone() })
    }

    /// The nodes that a list names, by id. Nodes that only have an address in it are not among them.
    pub(crate) fn named_nodes(&self, list: ListId) -> Vec<NodeId> {
        let (Some(l), Some(hits)) = (self.list(list), self.hits.get(list)) else { return Vec::new() };
        if l.who.is_empty() {
            return Vec::new();
        }
        let classes = hits.iter().filter_map(|c| self.classes.get(c));
        let named = classes.filter(|c| l.who.iter().any(|s| c.signature.has(*s)));
        let mut nodes: Vec<NodeId> = named.flat_map(|c| c.members.iter().copied()).collect();
        nodes.sort_unstable();
        nodes
    }

    /// Sources as the service writes them: every address by itself, literals as they are, nothing twice.
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
            // In one order, so that nothing moves when a literal becomes a route as well.
            let routes = self.subnet_routes().filter(|_| l.any).map(|r| Net::Prefix(*r));
            let literals = l.nets.iter().filter_map(|s| self.program.net(*s));
            let mut nets: Vec<Net> = routes.chain(literals).collect();
            nets.sort();
            out.extend(nets.iter().map(Net::to_string));
        }
        let literals = out.len();
        out.reserve(nodes.len() * 2);
        for row in nodes.iter().filter_map(|n| self.nodes.get(n)) {
            out.extend_from_slice(&row.text);
        }
        if literals > 0 {
            let mut seen = BTreeSet::new();
            out.retain(|t| seen.insert(t.clone()));
        }
        out
    }

    /// A number that is equal for equal sets of sources, and 0 for none.
    pub(crate) fn print_of(&self, sources: Sources) -> u128 {
        if self.policy.is_none() {
            return text_mix("*");
        }
        let id = match sources {
            Sources::Owner(user) => return self.owners.get(&user).map_or(0, |o| o.sum),
            Sources::List(id) => id,
        };
        let Some(l) = self.list(id) else { return 0 };
        if l.danger {
            return text_mix("*");
        }
        let mut sum = self.sums.get(id).copied().unwrap_or(0);
        if l.any {
            sum = sum.wrapping_add(self.routes_sum).wrapping_add(mix(1));
            let nets = l.nets.iter().filter_map(|s| self.program.net(*s));
            let again = nets.filter(|n| self.is_written_for_any(n));
            sum = again.fold(sum, |sum, n| sum.wrapping_sub(literal_mix(&n)));
        }
        sum = sum.wrapping_add(self.program.literals.get(id).copied().unwrap_or(0));
        // An address of a node that the list names as well is there once.
        let nets = if l.who.is_empty() { &[] } else { l.nets.as_slice() };
        let twice = nets.iter().filter_map(|s| self.program.net(*s)?.single());
        let is_once = |a: &IpAddr| !(l.any && self.is_written_for_any(&Net::from(*a)));
        twice
            .filter(|a| is_once(a) && self.names_address(l, *a))
            .fold(sum, |sum, a| sum.wrapping_sub(address_mix(a)))
    }

    /// Whether a literal is among what `*` is written as, so that it is there once.
    fn is_written_for_any(&self, net: &Net) -> bool {
        match net {
            Net::Prefix(p) if self.routes.get(p).is_some() => !is_exit_route(p),
            _ => ANY_SOURCE.contains(&net.to_string().as_str()),
        }
    }

    /// Whether an address belongs to a node that the list names.
    fn names_address(&self, list: &crate::engine::program::List, a: IpAddr) -> bool {
        let node = self.by_addr.get(&a).and_then(|n| self.nodes.get(n));
        let class = node.and_then(|n| self.classes.get(n.class as usize));
        class.is_some_and(|c| list.who.iter().any(|s| c.signature.has(*s)))
    }

    /// A number that differs, but for chance, when the filter differs, or the names of its parts.
    pub(crate) fn filter_print(&self, node: NodeId) -> u128 {
        let mut sum = u128::from(self.policy.is_none());
        for p in self.pieces(node) {
            let key = self.program.sections.get(p.section).map_or(0, |s| s.key);
            sum = mix(sum ^ p.print ^ u128::from(key)) ^ mix(u128::from(p.protocol.unwrap_or(255)));
            for port in &p.ports {
                sum = mix(sum
                    ^ text_mix(&port.ip)
                    ^ u128::from(port.ports.first) << 16
                    ^ u128::from(port.ports.last));
            }
            if let Some(grant) = p.caps {
                sum = grant.dsts.iter().fold(sum, |s, d| mix(s ^ text_mix(d)));
                for (name, values) in &grant.cap_map {
                    sum = values.iter().fold(mix(sum ^ text_mix(name)), |s, v| mix(s ^ text_mix(v.text())));
                }
            }
        }
        sum
    }
}
