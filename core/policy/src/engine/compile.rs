//! Compiles a document into a program: what every selector and every part of a rule means.

use std::collections::BTreeMap;
use std::sync::Arc;

use headsail_wire::filter::{CapMap, PortRange};
use ipnet::IpNet;

use crate::engine::edits::common_ends_by;
use crate::engine::facts::folded;
use crate::engine::fingerprint::Fingerprint;
use crate::engine::program::{
    AttrSection, Body, List, ListId, Program, Ranges, Section, SelId, SshSection, Target,
};
use crate::text::document::*;
use crate::text::net::Net;
use crate::text::ports::ALL_PORTS;
use crate::text::selector::{Auto, Selector};

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
