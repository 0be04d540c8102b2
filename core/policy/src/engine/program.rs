//! The document prepared for matching: every selector, list of selectors and part of a rule occurs once and has a
//! number. Nothing here depends on users or nodes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use headsail_wire::filter::{CapMap, PortRange};
use ipnet::IpNet;

use crate::engine::edits::common_ends_by;
use crate::engine::facts::folded;
use crate::engine::fingerprint::Fingerprint;
use crate::text::document::*;
use crate::text::net::Net;
use crate::text::ports::ALL_PORTS;
use crate::text::selector::{Auto, Role, Selector};

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
    /// Selectors that match people, by folded token and then by token; see [`folded`].
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
    fn new(mut ranges: Vec<(Net, SelId)>) -> Ranges {
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
    fn same_effect(&self, other: &Section) -> bool {
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
    /// Compiles a document. Names that are not defined match nothing.
    pub fn new(doc: &Document) -> Program {
        Program::after(&Program::default(), doc)
    }

    /// Compiles a document so that selectors and lists keep the numbers that they have in an older program. Those that
    /// only the older program has are kept too, and match nobody new.
    pub fn after(old: &Program, doc: &Document) -> Program {
        let ids = (0..).zip(&old.sels).map(|(i, s)| (s.clone(), i)).collect();
        let list_ids = old.lists.iter().cloned().zip(0..).collect();
        let p = Program {
            sels: old.sels.clone(),
            lists: old.lists.clone(),
            literals: old.literals.clone(),
            ..Program::default()
        };
        let mut b = Builder { doc, ids, list_ids, sets: BTreeMap::new(), p };
        for (index, rule) in doc.rules.iter().enumerate() {
            b.rule(index, rule);
        }
        if !doc.restricts {
            b.allow_all();
        }
        assign_keys(&old.sections, &mut b.p.sections);
        b.p.positions = merge_positions(&b.p.sections);
        b.ssh();
        for a in &doc.attrs {
            let target = b.list(a.target.iter().map(|t| &t.value));
            b.p.attrs.push(AttrSection { target, caps: Arc::new(a.caps.clone()), pools: a.pools.clone() });
        }
        for (prefix, approvers) in &doc.approvers.routes {
            let approvers = b.list(approvers.iter().map(|a| &a.value));
            b.p.approve.push((prefix.value, approvers));
        }
        b.p.approve_exit = b.list(doc.approvers.exit.iter().map(|w| &w.value));
        let flag = |on: bool, name: &str| on.then(|| (name.to_string(), Vec::new()));
        b.p.switches.extend(flag(doc.randomize_client_port, "randomize-client-port"));
        b.p.switches.extend(flag(doc.disable_ipv4, "disable-ipv4"));
        b.index()
    }

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

struct Builder<'a> {
    doc: &'a Document,
    ids: BTreeMap<Selector, SelId>,
    list_ids: BTreeMap<List, ListId>,
    /// The addresses of the sets met so far.
    sets: BTreeMap<String, Arc<[SelId]>>,
    p: Program,
}

impl Builder<'_> {
    fn intern(&mut self, s: Selector) -> SelId {
        let next = self.p.sels.len() as SelId;
        *self.ids.entry(s).or_insert_with_key(|s| {
            self.p.sels.push(s.clone());
            next
        })
    }

    /// The selectors of the addresses behind a host name or a set of addresses. Each set is expanded once.
    fn nets(&mut self, s: &Selector) -> Arc<[SelId]> {
        let set = match s {
            Selector::IpSet(name) => Some(name.as_str()),
            _ => None,
        };
        if let Some(known) = set.and_then(|name| self.sets.get(name)) {
            return known.clone();
        }
        let nets = self.doc.addresses(s);
        let ids: Arc<[SelId]> = nets.iter().map(|n| self.intern(Selector::Net(*n))).collect();
        if let Some(name) = set {
            self.sets.insert(name.to_string(), ids.clone());
        }
        ids
    }

    fn list<'s>(&mut self, sels: impl Iterator<Item = &'s Selector>) -> ListId {
        let mut list = List::default();
        for s in sels {
            match s {
                Selector::Any => list.any = true,
                Selector::Auto(Auto::DangerAll) => list.danger = true,
                Selector::Auto(Auto::Internet) => {
                    let id = self.intern(s.clone());
                    list.nets.push(id);
                }
                Selector::Net(_) | Selector::Host(_) | Selector::IpSet(_) => {
                    list.nets.extend(self.nets(s).iter());
                    if let (Selector::Host(name), true) = (s, self.doc.host_missing(s)) {
                        list.identities.push(self.intern(Selector::User(name.clone())));
                    }
                }
                Selector::Auto(Auto::SelfOwned | Auto::NonRoot | Auto::Shared | Auto::Unknown(_)) => {}
                Selector::Service(_) => {}
                Selector::User(_)
                | Selector::Domain(_)
                | Selector::Group(_)
                | Selector::Tag(_)
                | Selector::Auto(Auto::Member | Auto::Tagged | Auto::Role(_)) => {
                    let id = self.intern(s.clone());
                    list.identities.push(id);
                }
            }
        }
        for ids in [&mut list.identities, &mut list.nets] {
            ids.sort();
            ids.dedup();
        }
        self.list_id(list)
    }

    fn list_id(&mut self, list: List) -> ListId {
        let next = self.p.lists.len();
        *self.list_ids.entry(list).or_insert_with_key(|l| {
            self.p.lists.push(l.clone());
            next
        })
    }

    fn targets(&mut self, s: &Selector) -> Vec<Target> {
        match s {
            Selector::Any => vec![Target::Any],
            Selector::Auto(Auto::Internet) => vec![Target::Internet],
            Selector::Auto(Auto::SelfOwned) => vec![Target::SelfOwned],
            Selector::Net(_) | Selector::Host(_) | Selector::IpSet(_) => {
                self.doc.addresses(s).iter().copied().map(Target::Net).collect()
            }
            Selector::Auto(Auto::DangerAll | Auto::NonRoot | Auto::Shared | Auto::Unknown(_)) => Vec::new(),
            Selector::Service(_) => Vec::new(),
            Selector::User(_)
            | Selector::Domain(_)
            | Selector::Group(_)
            | Selector::Tag(_)
            | Selector::Auto(Auto::Member | Auto::Tagged | Auto::Role(_)) => {
                vec![Target::Nodes(self.intern(s.clone()))]
            }
        }
    }

    fn rule(&mut self, index: usize, rule: &Rule) {
        if rule.src.is_empty() || rule.dst.is_empty() {
            return;
        }
        let src = self.list(rule.src.iter().map(|s| &s.value));
        let via: Vec<SelId> =
            rule.via.iter().map(|v| self.intern(Selector::Tag(v.value.trim().to_string()))).collect();
        for dst in split_self(rule) {
            let to_self = dst.iter().all(|d| d.target == Selector::Auto(Auto::SelfOwned));
            self.p.uses_self |= to_self;
            let list = self.list(dst.iter().map(|d| &d.target));
            let by_address =
                via.is_empty() && self.p.lists.get(list).is_some_and(|l| !l.all() && !l.nets.is_empty());
            let section = |body: Body| Section {
                by_address: by_address && matches!(body, Body::Caps { .. }),
                rule: Some(index),
                src,
                dst: list,
                to_self,
                via: via.clone(),
                body,
                key: 0,
            };
            for (protocol, ports) in by_protocol(&rule.ip) {
                let mut to = Vec::new();
                let shared: Arc<[PortRange]> = ports.into();
                for d in &dst {
                    let own = || d.ports.as_slice().into();
                    let ports = if rule.kind == RuleKind::Acl { own() } else { shared.clone() };
                    to.extend(self.targets(&d.target).into_iter().map(|t| (t, ports.clone())));
                }
                self.p.sections.push(section(Body::Ports { protocol, to }));
            }
            if !rule.app.is_empty() {
                self.p.uses_address_grants |= by_address;
                let to = dst.iter().flat_map(|d| self.targets(&d.target)).collect();
                self.p.sections.push(section(Body::Caps { caps: Arc::new(rule.app.clone()), to }));
                for (cap, companion) in COMPANIONS {
                    if rule.app.contains_key(cap) {
                        let caps = Arc::new(CapMap::from([(companion.to_string(), Vec::new())]));
                        self.p.sections.push(section(Body::Companion { caps }));
                    }
                }
            }
        }
    }

    /// The rule in effect if a policy has neither grants nor ACLs.
    fn allow_all(&mut self) {
        let all = self.list_id(List { any: true, ..List::default() });
        let body = Body::Ports { protocol: None, to: vec![(Target::Any, [ALL_PORTS].into())] };
        self.p.sections.push(Section {
            rule: None,
            src: all,
            dst: all,
            to_self: false,
            via: Vec::new(),
            body,
            by_address: false,
            key: 0,
        });
    }

    fn ssh(&mut self) {
        let (check, accept): (Vec<_>, Vec<_>) =
            self.doc.ssh.iter().enumerate().partition(|(_, r)| matches!(r.verb, SshVerb::Check(_)));
        for (rule, r) in check.into_iter().chain(accept) {
            let src = self.list(r.src.iter().map(|s| &s.value));
            let tag = |s: &&At<Selector>| matches!(s.value, Selector::Tag(_));
            let named = r.users.iter().any(|u| matches!(u, SshUser::LocalPart(_)));
            let tags = r.src.iter().any(|s| s.value == Selector::Auto(Auto::Tagged))
                || r.src.iter().filter(tag).count() > 1;
            let to_self = Selector::Auto(Auto::SelfOwned);
            let others = r.dst.iter().map(|d| &d.value).filter(|d| **d != to_self);
            let dst = self.list(others);
            let to_self = r.dst.iter().any(|d| d.value == to_self);
            self.p.ssh.push(SshSection { rule, src, depends_on_owners: named || tags, dst, to_self });
        }
    }

    /// Builds the tables by which users, tags and addresses find their selectors.
    fn index(mut self) -> Program {
        let p = &mut self.p;
        let mut ranges = Vec::new();
        let mut name = |token: &String, id| {
            p.by_token.entry(folded(token)).or_default().entry(token.clone()).or_default().push(id);
        };
        for (id, s) in (0..).zip(&p.sels) {
            match s {
                Selector::User(token) => name(token, id),
                Selector::Group(g) => {
                    for m in self.doc.group(g).unwrap_or_default() {
                        match &m.value {
                            Selector::User(t) | Selector::Host(t) => name(t, id),
                            Selector::Domain(d) => p.by_domain.entry(d.to_lowercase()).or_default().push(id),
                            _ => {}
                        }
                    }
                }
                Selector::Domain(d) => p.by_domain.entry(d.to_lowercase()).or_default().push(id),
                Selector::Tag(t) => {
                    p.by_tag.insert(t.clone(), id);
                }
                Selector::Auto(Auto::Role(r)) => p.by_role.push((*r, id)),
                Selector::Auto(Auto::Member) => p.member = Some(id),
                Selector::Auto(Auto::Tagged) => p.tagged = Some(id),
                Selector::Auto(Auto::Internet) => p.internet = Some(id),
                Selector::Net(Net::Prefix(n)) => {
                    let v4 = matches!(n, IpNet::V4(_));
                    p.prefixes.entry((v4, n.prefix_len())).or_default().insert(n.network(), id);
                }
                Selector::Net(n) => ranges.push((*n, id)),
                // Not matched by a table: keywords, and names of addresses, which lists contain as addresses.
                Selector::Auto(
                    Auto::SelfOwned | Auto::DangerAll | Auto::NonRoot | Auto::Shared | Auto::Unknown(_),
                )
                | Selector::Any
                | Selector::Service(_)
                | Selector::IpSet(_)
                | Selector::Host(_) => {}
            }
        }
        p.ranges = Ranges::new(ranges);
        for list in p.lists.iter().skip(p.literals.len()) {
            let nets = list.nets.iter().filter_map(|s| match p.sels.get(*s as usize) {
                Some(Selector::Net(n)) => Some(n),
                _ => None,
            });
            p.literals.push(nets.map(Fingerprint::of_net).sum());
        }
        for ids in p.by_token.values_mut().flat_map(BTreeMap::values_mut) {
            ids.sort();
            ids.dedup();
        }
        self.p
    }
}

/// See [`Program::positions`]. Sections with `via`, `autogroup:self` or capabilities are never merged with others.
fn merge_positions(sections: &[Section]) -> Vec<usize> {
    let mut first = BTreeMap::new();
    let position = |(index, s): (usize, &Section)| match &s.body {
        Body::Ports { protocol, .. } if !s.to_self && s.via.is_empty() => {
            *first.entry((s.src, *protocol)).or_insert(index)
        }
        _ => index,
    };
    sections.iter().enumerate().map(position).collect()
}

/// Space between the keys of neighbours, for sections that are inserted later.
const KEY_STEP: u64 = 1 << 32;

/// Gives sections keys that grow in their order. Sections at both ends that do the same as in the older program keep
/// their keys, so that clients receive only the ones in between. If there is no room left in between, all get new keys.
fn assign_keys(old: &[Section], new: &mut [Section]) {
    let (prefix, suffix) = common_ends_by(old, new, Section::same_effect);
    let (old_end, new_end) = (old.len() - suffix, new.len() - suffix);
    let between = (new_end - prefix) as u64 + 1;
    let low = prefix.checked_sub(1).and_then(|i| old.get(i)).map_or(0, |s| s.key);
    let high = old.get(old_end).map_or(low.saturating_add(between.saturating_mul(KEY_STEP)), |s| s.key);
    let step = high.saturating_sub(low) / between;
    for (i, section) in new.iter_mut().enumerate() {
        let kept =
            if i < prefix { old.get(i) } else { (i + old_end).checked_sub(new_end).and_then(|i| old.get(i)) };
        section.key = match (step, kept) {
            (0, _) => (i as u64 + 1) * KEY_STEP,
            (_, Some(kept)) if i < prefix || i >= new_end => kept.key,
            _ => low + step * ((i - prefix) as u64 + 1),
        };
    }
}

/// Capabilities that the sources get when the destinations get another.
const COMPANIONS: [(&str, &str); 2] = [
    ("tailscale.com/cap/drive", "tailscale.com/cap/drive-sharer"),
    ("tailscale.com/cap/relay", "tailscale.com/cap/relay-target"),
];

/// The destinations of a rule in two parts, as the service orders them: first those that are the same for everyone, then
/// `autogroup:self`, in whatever order they are written. Only an ACL that names nothing but autogroups keeps its order.
fn split_self(rule: &Rule) -> impl Iterator<Item = Vec<Destination>> {
    let is_self = |d: &Destination| d.target == Selector::Auto(Auto::SelfOwned);
    let autogroups = rule.dst.iter().all(|d| matches!(d.value.target, Selector::Auto(_)));
    let as_written = rule.kind == RuleKind::Acl && autogroups;
    let self_first = as_written && rule.dst.first().is_some_and(|d| is_self(&d.value));
    let (own, others): (Vec<_>, Vec<_>) = rule.dst.iter().map(|d| d.value.clone()).partition(is_self);
    let parts = if self_first { [own, others] } else { [others, own] };
    parts.into_iter().filter(|part| !part.is_empty())
}

/// The ports of each protocol, in the order in which protocols are named.
fn by_protocol(specs: &[IpSpec]) -> Vec<(Option<u8>, Vec<PortRange>)> {
    let mut out: Vec<(Option<u8>, Vec<PortRange>)> = Vec::new();
    for s in specs {
        match out.iter_mut().find(|(p, _)| *p == s.protocol) {
            Some((_, ports)) => ports.extend(&s.ports),
            None => out.push((s.protocol, s.ports.clone())),
        }
    }
    out
}
