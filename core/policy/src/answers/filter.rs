//! The packet filter of a node: the rules that concern it, merged as the official service merges them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use headsail_wire::filter::{CapGrant, CapMap, FilterRule, NetPortRange, PortRange};
use headsail_wire::ids::NodeId;
use headsail_wire::json::Verbatim;

use crate::answers::sources::{SourceKey, Sources};
use crate::engine::cow::Bits;
use crate::engine::fingerprint::Fingerprint;
use crate::engine::program::{Body, Section, Target};
use crate::engine::{Engine, NodeRow};
use crate::text::net::{INTERNET, Net, is_exit_route};

/// A rule of a packet filter whose sources are not written out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name among the parts of a node's filter. Two rules may share one.
    pub name: String,
    /// Its sources; [`Engine::sources`] writes them out.
    pub sources: SourceKey,
    /// Destinations and their ports.
    pub dst_ports: Vec<NetPortRange>,
    /// Protocol numbers; empty means TCP, UDP and ICMP.
    pub ip_proto: Vec<i32>,
    /// Capabilities granted.
    pub cap_grant: Vec<CapGrant>,
}

/// A filter rule whose sources are not written out yet, so that rules are cheap to compare.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub sources: Sources,
    /// Equal for equal sets of sources.
    pub fingerprint: Fingerprint,
    /// Index of the first section that it comes from.
    pub section: usize,
    /// The position of the rule that it belongs to; see [`crate::engine::program::Program::positions`].
    pub position: usize,
    pub protocol: Option<u8>,
    pub ports: Vec<NetPortRange>,
    pub caps: Option<CapGrant>,
}

impl Engine {
    /// The packet filter of a node, in the order of the official service: rules with the same sources and protocol are
    /// merged into one, which stands where the first of them stands in the policy, even if that one concerns another
    /// node.
    ///
    /// Sources can be long and are the same for many nodes. To render many filters, use [`Engine::parts`] and render
    /// each [`SourceKey`] once.
    pub fn filter(&self, node: NodeId) -> Vec<FilterRule> {
        let mut pieces = self.pieces(node);
        pieces.sort_by_key(|p| p.position);
        let write = |p: Part| FilterRule {
            src_ips: self.sources(p.sources),
            dst_ports: p.dst_ports,
            ip_proto: p.ip_proto,
            cap_grant: p.cap_grant,
        };
        pieces.into_iter().map(|p| write(self.part(p))).collect()
    }

    /// The packet filter of a node as named parts (`MapResponse.PacketFilters`), in the order of the policy. The name
    /// of a part comes from its rule: it stays the same while sources come and go and while other rules are edited, so
    /// only parts that changed are sent. The order of rules makes no difference to a client: a packet passes if any
    /// rule admits it.
    pub fn parts(&self, node: NodeId) -> Vec<Part> {
        self.pieces(node).into_iter().map(|p| self.part(p)).collect()
    }

    fn part(&self, p: Piece) -> Part {
        Part {
            name: self.part_name(&p),
            sources: SourceKey::new(p.fingerprint, p.sources),
            dst_ports: p.ports,
            ip_proto: p.protocol.map(i32::from).into_iter().collect(),
            cap_grant: p.caps.into_iter().collect(),
        }
    }

    fn part_name(&self, p: &Piece) -> String {
        self.program.sections.get(p.section).map_or_else(String::new, |s| format!("rule-{:016x}", s.key))
    }

    /// The rules of a node, merged, without writing out their sources.
    pub(crate) fn pieces(&self, node: NodeId) -> Vec<Piece> {
        let Some(row) = self.nodes.get(&node) else { return Vec::new() };
        let mut out: Vec<Piece> = Vec::new();
        let mut places: BTreeMap<(Fingerprint, Option<u8>), usize> = BTreeMap::new();
        for (index, section) in self.program.sections.iter().enumerate() {
            let Some((sources, mut piece)) = self.piece(row, index, section) else { continue };
            piece.sources = sources;
            piece.fingerprint = self.sources_fingerprint(sources);
            if piece.caps.is_some() {
                out.push(piece);
                continue;
            }
            let place = *places.entry((piece.fingerprint, piece.protocol)).or_insert(out.len());
            match out.get_mut(place) {
                Some(first) => {
                    first.position = first.position.min(piece.position);
                    first.ports.append(&mut piece.ports);
                }
                None => out.push(piece),
            }
        }
        out
    }

    /// Adds the classes on which a section can put a rule.
    pub(crate) fn add_concerned(&self, index: usize, section: &Section, to: &mut Bits) {
        if section.to_self || matches!(section.body, Body::Companion { .. }) {
            self.list_classes.get(section.src).into_iter().for_each(|b| to.add(b));
        }
        if !section.to_self {
            self.target_classes(index, section).into_iter().for_each(|b| to.add(b));
        }
    }

    /// Whether a section can put a rule on the nodes of a class.
    pub(crate) fn concerns(&self, index: usize, section: &Section, class: usize) -> bool {
        let at_source = section.to_self || matches!(section.body, Body::Companion { .. });
        (at_source && self.in_list(section.src, class))
            || (!section.to_self && self.target_classes(index, section).is_some_and(|b| b.has(class)))
    }

    /// The rule that a section puts on a node, if any.
    fn piece(&self, row: &NodeRow, index: usize, section: &Section) -> Option<(Sources, Piece)> {
        let class = row.class as usize;
        let companion = matches!(section.body, Body::Companion { .. });
        let sources = if section.to_self {
            Sources::Owner(row.facts.user().filter(|_| self.in_list(section.src, class))?)
        } else if companion && self.in_list(section.src, class) {
            Sources::List(section.dst)
        } else if !companion && self.target_classes(index, section)?.has(class) {
            Sources::List(section.src)
        } else {
            return None;
        };
        let position = self.program.positions.get(index).copied().unwrap_or(index);
        let mut piece = Piece {
            sources,
            fingerprint: Fingerprint::EMPTY,
            section: index,
            position,
            protocol: None,
            ports: Vec::new(),
            caps: None,
        };
        match &section.body {
            Body::Ports { protocol, to } => {
                piece.protocol = *protocol;
                for (target, ports) in to {
                    for ip in self.destinations_on(row, target, section) {
                        let port = |p: &PortRange| NetPortRange { ip: ip.clone(), ports: *p };
                        piece.ports.extend(ports.iter().map(port));
                    }
                }
                if piece.ports.is_empty() || self.sources_fingerprint(sources) == Fingerprint::EMPTY {
                    return None;
                }
            }
            Body::Caps { caps, to } => piece.caps = Some(self.grant(row, to, caps)?),
            Body::Companion { caps } => piece.caps = Some(self.grant(row, &[Target::SelfOwned], caps)?),
        }
        Some((sources, piece))
    }

    /// The destinations in a rule for a node, as text; none if the target doesn't concern the node.
    pub(crate) fn destinations_on(&self, row: &NodeRow, target: &Target, section: &Section) -> Vec<String> {
        let own = || row.address_text.clone();
        let has = |s: &u32| self.classes.get(row.class as usize).is_some_and(|c| c.signature.has(*s));
        match target {
            Target::SelfOwned => own(),
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

    /// A grant of capabilities on a node's own addresses. Routes get none.
    fn grant(&self, row: &NodeRow, to: &[Target], caps: &CapMap) -> Option<CapGrant> {
        let has = |s: &u32| self.classes.get(row.class as usize).is_some_and(|c| c.signature.has(*s));
        let meant = |a: &IpAddr| {
            to.iter().any(|t| match t {
                Target::SelfOwned | Target::Any => true,
                Target::Nodes(sel) => has(sel),
                Target::Net(net) => net.contains(*a),
                Target::Internet => false,
            })
        };
        let single = |a: IpAddr| ipnet::IpNet::from(a).to_string();
        let dsts: Vec<String> = row.facts.addresses().filter(meant).map(single).collect();
        (!dsts.is_empty()).then(|| CapGrant { dsts, caps: Vec::new(), cap_map: caps.clone() })
    }

    /// Differs if the filter differs, or the names of its parts.
    pub(crate) fn filter_fingerprint(&self, node: NodeId) -> Fingerprint {
        let mut all = Fingerprint::EMPTY.then_number(self.policy.is_none().into());
        for p in self.pieces(node) {
            let key = self.program.sections.get(p.section).map_or(0, |s| s.key);
            all = all.then(p.fingerprint).then_number(key).then_number(p.protocol.map_or(256, u64::from));
            for port in &p.ports {
                let range = u64::from(port.ports.first) << 16 | u64::from(port.ports.last);
                all = all.then(Fingerprint::of_text(&port.ip)).then_number(range);
            }
            if let Some(grant) = p.caps {
                all = grant.dsts.iter().fold(all, |all, d| all.then(Fingerprint::of_text(d)));
                all = grant.cap_map.iter().fold(all, then_cap);
            }
        }
        all
    }
}

/// Extends a sequence with a capability and its values.
pub(crate) fn then_cap(all: Fingerprint, (name, values): (&String, &Vec<Verbatim>)) -> Fingerprint {
    let all = all.then(Fingerprint::of_text(name)).then_number(values.len() as u64);
    values.iter().fold(all, |all, v| all.then(Fingerprint::of_text(v.text())))
}
