//! What is open on a node, as sets that can be subtracted: ports per protocol, for each place where traffic may end.

use std::collections::BTreeMap;
use std::fmt;

use headsail_wire::filter::PortRange;

use crate::engine::program::{Body, Section, Target};
use crate::engine::{Engine, NodeRow};
use crate::text::net::{Net, is_exit_route};
use crate::text::ports::{ALL_PORTS, format_ports, protocol_name};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// The protocols of a rule that names none. The client's packet filter (`wgengine/filter`) adds ICMP to everything that
/// is open.
const DEFAULT_PROTOCOLS: [u8; 2] = [TCP, UDP];
/// Open wherever anything is: clients admit pings to every address with an open port.
const PINGS: [u8; 2] = [1, 58];

/// Where traffic to a node may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// At the node itself.
    Here,
    /// In a network behind it.
    Behind(Net),
    /// On the internet, through it as an exit node.
    Internet,
}

impl Place {
    fn covers(self, other: Place) -> bool {
        match (self, other) {
            (Place::Behind(a), Place::Behind(b)) => a.covers(&b),
            _ => self == other,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Here => Ok(()),
            Place::Behind(net) => net.fmt(f),
            Place::Internet => f.write_str("the internet"),
        }
    }
}

/// Ports, as sorted ranges that neither touch nor overlap. Port 0 is never open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct PortSet(Vec<PortRange>);

impl PortSet {
    fn add(&mut self, ports: &[PortRange]) {
        self.0.extend(ports.iter().map(|p| PortRange { first: p.first.max(1), last: p.last }));
        self.0.retain(|p| p.first <= p.last);
        self.0.sort();
        self.0.dedup_by(|next, before| {
            let joined = u32::from(next.first) <= u32::from(before.last) + 1;
            if joined {
                before.last = before.last.max(next.last);
            }
            joined
        });
    }

    fn without(&self, other: &PortSet) -> PortSet {
        let mut rest = Vec::new();
        for p in &self.0 {
            let mut first = Some(p.first);
            for gone in other.0.iter().filter(|g| g.first <= p.last && p.first <= g.last) {
                rest.extend(
                    first.filter(|f| *f < gone.first).map(|first| PortRange { first, last: gone.first - 1 }),
                );
                first = gone.last.checked_add(1).filter(|f| *f <= p.last);
            }
            rest.extend(first.map(|first| PortRange { first, last: p.last }));
        }
        PortSet(rest)
    }

    fn is_all(&self) -> bool {
        matches!(self.0.as_slice(), [p] if p.first == 1 && p.last == u16::MAX)
    }

    /// The ranges as rules write them, after a protocol.
    fn print<'a>(&'a self, protocol: &'a str) -> impl Iterator<Item = String> + 'a {
        let all = self.is_all();
        self.0.iter().map(move |p| format!("{protocol}{}", format_ports(&[if all { ALL_PORTS } else { *p }])))
    }
}

/// Ports per protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Open(BTreeMap<u8, PortSet>);

impl Open {
    fn add(&mut self, protocol: Option<u8>, ports: &[PortRange]) {
        let named = protocol.as_slice();
        for p in if named.is_empty() { &DEFAULT_PROTOCOLS[..] } else { named } {
            self.0.entry(*p).or_default().add(ports);
        }
        for p in PINGS {
            self.0.entry(p).or_default().add(&[ALL_PORTS]);
        }
    }

    fn without<'a>(&self, others: impl Iterator<Item = &'a Open>) -> Open {
        let mut rest = self.0.clone();
        for other in others {
            for (protocol, ports) in &mut rest {
                *ports = other.0.get(protocol).map_or_else(|| ports.clone(), |gone| ports.without(gone));
            }
        }
        rest.retain(|_, ports| !ports.0.is_empty());
        Open(rest)
    }

    /// The ranges in order, such as `22`, `udp:53`, `*`. Ports without a protocol are for TCP and UDP. Pings are only
    /// listed if nothing else is open. `*` would claim too much if pings were not included, so then each protocol is
    /// listed.
    pub fn print(&self) -> Vec<String> {
        let of = |protocol: u8| self.0.get(&protocol);
        let pings = PINGS.iter().all(|p| of(*p).is_some());
        let alone = self.0.keys().all(|p| PINGS.contains(p));
        let both = of(TCP).filter(|tcp| Some(*tcp) == of(UDP) && (pings || !tcp.is_all()));
        let mut out: Vec<String> = both.iter().flat_map(|ports| ports.print("")).collect();
        for (protocol, ports) in &self.0 {
            let said = match protocol {
                &TCP | &UDP => both.is_some(),
                p => PINGS.contains(p) && !alone,
            };
            if !said {
                out.extend(ports.print(&format!("{}:", protocol_name(*protocol))));
            }
        }
        out
    }
}

/// What a source may reach on a node and through it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach(BTreeMap<Place, Open>);

impl Reach {
    /// What is open here but not in `other`, by place.
    pub fn without(&self, other: &Reach) -> Vec<(Place, Open)> {
        let rest = self.0.iter().map(|(place, open)| {
            let there = other.0.iter().filter(|(p, _)| p.covers(*place)).map(|(_, open)| open);
            (*place, open.without(there))
        });
        rest.filter(|(_, open)| !open.0.is_empty()).collect()
    }
}

impl Engine {
    /// What the nodes of a class may reach on a node and behind it.
    pub(crate) fn reach(&self, class: u32, row: &NodeRow, same_owner: bool) -> Reach {
        let mut reach = Reach::default();
        for (i, s) in self.program.sections.iter().enumerate() {
            let Body::Ports { protocol, to } = &s.body else { continue };
            let there = if s.to_self { same_owner } else { self.concerns(i, s, row.class as usize) };
            if !there || !self.in_list(s.src, class as usize) {
                continue;
            }
            for (target, ports) in to {
                for place in self.places(row, target, s) {
                    reach.0.entry(place).or_default().add(*protocol, ports);
                }
            }
        }
        reach
    }

    /// The places on a node that a target of a rule means, if the rule puts the target into the node's filter at all.
    fn places(&self, row: &NodeRow, target: &Target, section: &Section) -> Vec<Place> {
        if self.destinations_on(row, target, section).is_empty() {
            return Vec::new();
        }
        let exit = row.facts.serves().any(is_exit_route);
        let routes = || row.facts.serves().filter(|r| !is_exit_route(r)).map(|r| Net::Prefix(*r));
        let internet = exit.then_some(Place::Internet);
        match target {
            Target::Nodes(_) | Target::SelfOwned => vec![Place::Here],
            Target::Internet => internet.into_iter().collect(),
            Target::Any => {
                [Place::Here].into_iter().chain(routes().map(Place::Behind)).chain(internet).collect()
            }
            Target::Net(net) => {
                let mine = section.via.is_empty() && row.facts.addresses().any(|a| net.contains(a));
                let behind = routes().filter(|r| r.overlaps(net));
                let behind = behind.map(|r| Place::Behind(if net.covers(&r) { r } else { *net }));
                let internet = internet.filter(|_| net.is_everything());
                mine.then_some(Place::Here).into_iter().chain(behind).chain(internet).collect()
            }
        }
    }
}
