//! The document prepared for matching: every selector, list of selectors and part of a rule occurs once and has a
//! number. Nothing here depends on users or nodes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use headsail_wire::filter::{CapMap, PortRange};
use ipnet::IpNet;

use crate::engine::fingerprint::Fingerprint;
use crate::text::net::Net;
use crate::text::selector::{Role, Selector};

pub(crate) type SelId = u32;
pub(crate) type ListId = usize;

/// A list of selectors, from `src` or `dst`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct List {
    /// Whether it contains `*`.
    pub any: bool,
    /// Whether it contains `autogroup:danger-all`.
    pub danger: bool,
    /// Selectors that match nodes by identity (user, group, tag, autogroup); sorted.
    pub identities: Vec<SelId>,
    /// Selectors that match by address; sorted.
    pub nets: Vec<SelId>,
}

impl List {
    /// Whether it matches every node.
    pub fn all(&self) -> bool {
        self.any || self.danger
    }

    pub fn sels(&self) -> impl Iterator<Item = SelId> + '_ {
        self.identities.iter().chain(&self.nets).copied()
    }
}

/// A destination of a rule.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Target {
    /// The addresses of the nodes that match a selector.
    Nodes(SelId),
    /// Addresses.
    Net(Net),
    /// Everything.
    Any,
    /// The internet, through exit nodes.
    Internet,
    /// The other nodes of the same user.
    SelfOwned,
}

/// A part of a rule that becomes at most one filter rule on a node.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    /// Index in `Document::rules`; `None` for the rule that allows everything where a policy has no rules.
    pub rule: Option<usize>,
    pub src: ListId,
    pub dst: ListId,
    /// Whether source and destination are nodes of one user (`autogroup:self`).
    pub to_self: bool,
    /// Tags of the routers through which its traffic goes.
    pub via: Vec<SelId>,
    pub body: Body,
    /// Whether it grants capabilities on addresses, which only nodes that have such an address get, not those that
    /// route it.
    pub by_address: bool,
    /// Its number in the names of filter parts: grows from section to section, and stays the same while other rules are
    /// edited.
    pub key: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    Ports {
        protocol: Option<u8>,
        to: Vec<(Target, Arc<[PortRange]>)>,
    },
    Caps {
        caps: Arc<CapMap>,
        to: Vec<Target>,
    },
    /// The capability that the sources get in return: it goes into their filters, for the destinations.
    Companion {
        caps: Arc<CapMap>,
    },
}

/// An SSH rule. Check rules come before accept rules.
#[derive(Clone, Debug)]
pub(crate) struct SshSection {
    pub rule: usize,
    pub src: ListId,
    /// Whether the result depends on owners and tags of the sources beyond their selectors: `localpart` makes a rule
    /// for each user, and a tagged node is named once for each tag that matches.
    pub depends_on_owners: bool,
    pub dst: ListId,
    /// Whether `autogroup:self` is among the destinations.
    pub to_self: bool,
}

/// An entry of `nodeAttrs`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AttrSection {
    pub target: ListId,
    pub caps: Arc<CapMap>,
    pub pools: Vec<IpNet>,
}

/// The compiled document.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    pub sels: Vec<Selector>,
    pub lists: Vec<List>,
    /// For each list, the fingerprint of its literals.
    pub literals: Vec<Fingerprint>,
    pub sections: Vec<Section>,
    /// For each section, the first one with the same sources and protocol. The service merges them all into one rule,
    /// which stands where the first of them stands, even if that one doesn't concern the node.
    pub positions: Vec<usize>,
    pub ssh: Vec<SshSection>,
    pub attrs: Vec<AttrSection>,
    pub approve: Vec<(IpNet, ListId)>,
    pub approve_exit: ListId,
    /// Capabilities of every node, from the switches at top level.
    pub switches: CapMap,
    /// Whether a rule uses `autogroup:self`, so that nodes of different owners differ.
    pub uses_self: bool,
    /// Whether a rule grants capabilities on addresses.
    pub uses_address_grants: bool,
    /// Selectors that match people, by folded token and then by token; see [`folded`](crate::engine::facts::folded).
    pub by_token: BTreeMap<String, BTreeMap<String, Vec<SelId>>>,
    pub by_domain: BTreeMap<String, Vec<SelId>>,
    pub by_tag: BTreeMap<String, SelId>,
    pub by_role: Vec<(Role, SelId)>,
    pub member: Option<SelId>,
    pub tagged: Option<SelId>,
    pub internet: Option<SelId>,
    /// Address selectors by length and network, and the ranges.
    pub prefixes: BTreeMap<(bool, u8), BTreeMap<IpAddr, SelId>>,
    pub ranges: Ranges,
}

/// Ranges of addresses, looked up by what they overlap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranges {
    /// Sorted by first address; each with the largest last address up to here.
    sorted: Vec<(Net, SelId, IpAddr)>,
}

impl Ranges {
    pub fn new(mut ranges: Vec<(Net, SelId)>) -> Ranges {
        ranges.sort_by_key(|(n, _)| n.bounds());
        let mut reach = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let sorted = ranges.into_iter().map(|(n, s)| {
            reach = reach.max(n.bounds().1);
            (n, s, reach)
        });
        Ranges { sorted: sorted.collect() }
    }

    fn overlapping(&self, net: Net) -> impl Iterator<Item = SelId> {
        let (first, last) = net.bounds();
        let end = self.sorted.partition_point(|(n, _, _)| n.bounds().0 <= last);
        let near = self.sorted.get(..end).unwrap_or_default().iter().rev();
        near.take_while(move |r| r.2 >= first).filter(move |r| r.0.overlaps(&net)).map(|r| r.1)
    }
}

impl Section {
    /// Whether it arrives at other classes than its destinations name: at the routers of `via`, or only at nodes that
    /// have an address on which capabilities are granted.
    pub fn overrides_classes(&self) -> bool {
        self.by_address || !self.via.is_empty()
    }

    /// Whether two sections do the same, whatever rule they come from and whatever key they have.
    pub fn same_effect(&self, other: &Section) -> bool {
        let Section { src, dst, to_self, via, body, by_address, rule: _, key: _ } = self;
        (*src, *dst, *to_self, *by_address) == (other.src, other.dst, other.to_self, other.by_address)
            && *via == other.via
            && *body == other.body
    }
}

impl PartialEq for Section {
    /// Whether two sections do the same and have the same key.
    fn eq(&self, other: &Section) -> bool {
        self.key == other.key && self.same_effect(other)
    }
}

impl PartialEq for SshSection {
    fn eq(&self, other: &SshSection) -> bool {
        (self.src, self.dst, self.to_self) == (other.src, other.dst, other.to_self)
    }
}

impl Program {
    /// The address selectors that contain an address.
    pub fn nets_containing(&self, addr: IpAddr, out: &mut Vec<SelId>) {
        for ((v4, len), nets) in &self.prefixes {
            if *v4 != addr.is_ipv4() {
                continue;
            }
            if let Ok(p) = IpNet::new(addr, *len) {
                out.extend(nets.get(&p.network()));
            }
        }
        out.extend(self.ranges.overlapping(addr.into()));
    }

    /// The address selectors that overlap a route.
    pub fn nets_overlapping(&self, route: &IpNet, out: &mut Vec<SelId>) {
        let route = Net::Prefix(*route);
        for ((v4, len), nets) in &self.prefixes {
            if *v4 == matches!(route, Net::Prefix(IpNet::V4(_))) {
                let over = |(a, _): &(&IpAddr, &SelId)| {
                    IpNet::new(**a, *len).is_ok_and(|p| route.overlaps(&p.into()))
                };
                out.extend(nets.iter().filter(over).map(|(_, s)| *s));
            }
        }
        out.extend(self.ranges.overlapping(route));
    }

    pub fn sel(&self, id: SelId) -> Option<&Selector> {
        self.sels.get(id as usize)
    }

    /// The addresses for which an address selector stands.
    pub fn net(&self, id: SelId) -> Option<Net> {
        match self.sel(id) {
            Some(Selector::Net(n)) => Some(*n),
            _ => None,
        }
    }
}
