//! Explains why one thing may, or may not, reach another.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use headsail_wire::filter::PortRange;
use headsail_wire::ids::NodeId;
use serde::Serialize;

use crate::answers::verdict::{Party, is_public, target_matches};
use crate::engine::Engine;
use crate::engine::program::{Body, Section};
use crate::text::document::{Rule, RuleKind};
use crate::text::net::is_exit_route;
use crate::text::ports::{format_ports, parse_protocol, protocol_name};
use crate::text::selector::{Auto, Selector};

/// The answer to "may this reach that?".
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Whether the packet filter allows it.
    pub allowed: bool,
    /// The source, as understood.
    pub src: String,
    /// The destination, as understood.
    pub dst: String,
    /// The rule that allows it.
    pub rule: Option<RuleRef>,
    /// Why the rule applies to the two; if refused, what is missing.
    pub reasons: Vec<String>,
}

/// A rule of the policy text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleRef {
    /// Such as `acls[2]`; `default` for what applies without any rules.
    pub name: String,
    /// Its line, from 1; 0 when it is not in the text.
    pub line: usize,
    /// The rule on one line, without comments; empty when it is not in the text.
    pub text: String,
}

impl Engine {
    /// Explains whether `src` may reach `dst` on a port. Each is the name of a node, or anything that a rule could name
    /// (a user, tag, group, host or address), or the bare name or id of a user. `proto` is a name or a number; "" means
    /// TCP or UDP.
    ///
    /// If a name stands for several nodes, the explanation is about the first that is refused, else the first.
    pub fn explain(&self, src: &str, dst: &str, port: u16, proto: &str) -> Result<Explanation, String> {
        let protocol = parse_protocol(proto).map_err(|_| {
            format!("`{proto}` is not a protocol: name one, like tcp, udp or icmp, or give its number")
        })?;
        let sources = self.named_parties(src)?;
        let targets = self.named_parties(dst)?;
        let mut first = None;
        for s in &sources {
            for t in &targets {
                match self.allows(s, t, protocol, port) {
                    None => return Ok(self.refusal((src, s), (dst, t), protocol, port)),
                    Some((index, section)) => {
                        first.get_or_insert((s, t, index, section));
                    }
                }
            }
        }
        match first {
            Some((s, t, index, section)) => Ok(self.permission((src, s), (dst, t), index, section)),
            None => Err(format!("`{src}` or `{dst}` matches no user or node")),
        }
    }

    fn named_parties(&self, name: &str) -> Result<Vec<Party>, String> {
        let named = self.nodes().find(|n| n.name.eq_ignore_ascii_case(name)).map(|n| n.id);
        if let Some(party) = named.and_then(|id| self.party(id)) {
            return Ok(vec![party]);
        }
        if Selector::parse(name) == Selector::Auto(Auto::Internet) {
            // This can be asked before there is an exit node, as about an address that no node routes.
            return Ok(vec![Party { internet: true, ..Party::default() }]);
        }
        let mut parties = self.parties(name);
        if parties.is_empty() {
            // Elsewhere, though not in a policy, users are also named by bare names and ids.
            let id = self.users().map(|u| u.id).find(|id| id.to_string() == name);
            parties = self.people(id.map_or_else(|| self.users_named(name), |id| vec![id]));
        }
        if parties.is_empty() {
            if let Some(empty) = self.why_empty(name) {
                return Err(empty);
            }
            return Err(format!("`{name}` is not known: name a node, user, group, tag, host or address"));
        }
        Ok(parties)
    }

    fn permission(&self, src: (&str, &Party), dst: (&str, &Party), index: usize, s: &Section) -> Explanation {
        let rule = s.rule.and_then(|r| self.policy.document.rules.get(r));
        let mut reasons = Vec::new();
        if let Some(rule) = rule {
            let from = rule.src.iter().find_map(|sel| self.link_to(&sel.value, src));
            let to = rule.dst.iter().find_map(|sel| self.link_to(&sel.value.target, dst));
            reasons.extend(from.map(|t| format!("source: {t}")));
            reasons.extend(to.map(|t| format!("destination: {t}")));
        } else if self.policy.is_none() {
            reasons.push("there is no policy, so everything is allowed".into());
        } else {
            reasons.push("the policy has neither `grants` nor `acls`, so everything is allowed".into());
        }
        reasons.extend(self.carrier(dst.1, index, s));
        Explanation {
            allowed: true,
            src: self.title(src),
            dst: self.title(dst),
            rule: Some(self.rule_ref(rule)),
            reasons,
        }
    }

    fn rule_ref(&self, rule: Option<&Rule>) -> RuleRef {
        let Some(rule) = rule else {
            return RuleRef { name: "default".into(), line: 0, text: String::new() };
        };
        RuleRef { name: rule_name(rule), line: self.policy.line(rule.span), text: rule.to_json().to_string() }
    }

    /// Why a selector matches a party that was asked for by a name.
    fn link_to(&self, s: &Selector, (asked, party): (&str, &Party)) -> Option<String> {
        let has = || party.signature.sels.iter().any(|id| self.program.sel(*id) == Some(s));
        let nets = || self.policy.document.addresses(s);
        let is_public = |a: &&IpAddr| party.node.is_none() && is_public(**a);
        let verb = match s {
            Selector::Any => return party.in_any.then(|| "`*` is everybody".into()),
            Selector::Net(_) | Selector::Host(_) | Selector::IpSet(_) => {
                let inside = party.addresses.iter().find(|a| nets().iter().any(|n| n.contains(**a)));
                let within = party.prefix.filter(|p| nets().iter().any(|n| n.covers(p)));
                let what = inside.map(|a| a.to_string()).or_else(|| within.map(|p| p.to_string()))?;
                return Some(format!("`{s}` contains {what}"));
            }
            Selector::Auto(Auto::Internet) if !party.internet => {
                return party.addresses.iter().find(is_public).map(|a| format!("`{s}` contains {a}"));
            }
            Selector::Auto(Auto::Internet) => "",
            Selector::User(_) if has() => "is",
            _ if has() => "has",
            _ => return None,
        };
        let node = party.node.and_then(|n| self.node(n));
        let who = party.owner.and_then(|o| self.users.get(&o)).map(|u| match u.facts.email.as_str() {
            "" => format!("{}@", u.facts.name),
            email => email.to_string(),
        });
        let own = s.to_string();
        Some(match (who, node) {
            (Some(who), Some(n)) => format!("`{s}` {verb} {who}, who owns `{}`", n.name),
            (None, Some(n)) => format!("`{s}` {verb} `{}`", n.name),
            (_, None) if own == asked.trim() => format!("the rule names `{s}`"),
            (Some(who), None) if who != own => format!("`{s}` {verb} {who}"),
            (Some(_), None) => format!("the rule names `{s}`"),
            (None, None) => format!("`{s}` {verb} `{asked}`"),
        })
    }

    /// Which router carries traffic to an address that no node has.
    fn carrier(&self, dst: &Party, index: usize, section: &Section) -> Option<String> {
        if dst.node.is_some() {
            return None;
        }
        let address = dst.addresses.first();
        let reached = |n: &&NodeId| {
            let row = self.nodes.get(n);
            row.is_some_and(|r| self.target_classes(index, section).is_some_and(|b| b.has(r.class as usize)))
        };
        let serves = |n: &&NodeId| section.via.is_empty() || reached(n);
        let routes = self.routes.iter().filter(|(r, _)| address.is_some_and(|a| r.contains(a)));
        let inner = routes.filter(|(r, _)| !is_exit_route(r));
        let mut routers = inner.flat_map(|(r, row)| row.servers.iter().filter(serves).map(move |n| (r, n)));
        if let Some((route, router)) = routers.next().and_then(|(r, n)| Some((r, self.node(*n)?))) {
            return Some(format!("`{}` routes {route}", router.name));
        }
        let internet = dst.internet || address.is_some_and(|a| is_public(*a));
        let exits = self.routes.iter().filter(|(r, _)| internet && is_exit_route(r));
        let exit = exits.flat_map(|(_, row)| row.servers.iter().filter(reached)).next();
        match (exit.and_then(|n| self.node(*n)), address) {
            (Some(exit), _) => Some(format!("`{}` is an exit node", exit.name)),
            (None, Some(a)) => Some(format!("no node routes {a}, so nothing will arrive")),
            (None, None) if dst.internet => Some("there is no exit node, so nothing will arrive".into()),
            (None, None) => None,
        }
    }

    fn title(&self, (asked, party): (&str, &Party)) -> String {
        if party.is_hypothetical() && asked != "*" {
            return format!("{asked}, which has no node yet");
        }
        match party.node.and_then(|n| self.node(n)).map(|n| n.name.as_str()) {
            Some(name) if !name.is_empty() && name != asked => format!("{name} ({asked})"),
            _ => asked.into(),
        }
    }

    fn refusal(
        &self,
        src: (&str, &Party),
        dst: (&str, &Party),
        protocol: Option<u8>,
        port: u16,
    ) -> Explanation {
        let near = self.near(src.1, dst.1);
        let cut = |all: usize| (all > MAX_RULES).then(|| format!("and {} more rules", all - MAX_RULES));
        let mut reasons = Vec::new();
        for (rule, ports) in near.opens.iter().take(MAX_RULES) {
            reasons.push(format!("{} opens only {}", self.place(*rule), format_opened(ports)));
        }
        reasons.extend(cut(near.opens.len()));
        if !reasons.is_empty() {
            let asked = protocol.map(|p| format!("{}:", protocol_name(p))).unwrap_or_default();
            reasons.push(format!("no rule opens {asked}{port}"));
        }
        for (rule, via) in near.stuck.iter().take(MAX_RULES) {
            let place = self.place(*rule);
            let to = dst.1.addresses.first().map_or_else(|| dst.0.to_string(), |a| a.to_string());
            reasons.push(format!("{place} names `{}`, but no node with {via} routes {to}", dst.0));
        }
        reasons.extend(cut(near.stuck.len()));
        if reasons.is_empty() {
            let (src, dst) = (src.0, dst.0);
            reasons.push(match self.first_places(&near.to) {
                None => format!("no rule has `{dst}` as a destination"),
                Some(to) => format!("`{src}` is not a source of the rules that reach `{dst}`: {to}"),
            });
            reasons.push(match self.first_places(&near.from) {
                None => format!("no rule has `{src}` as a source"),
                Some(from) => format!("rules of which `{src}` is a source go elsewhere: {from}"),
            });
        }
        Explanation { allowed: false, src: self.title(src), dst: self.title(dst), rule: None, reasons }
    }

    /// How each rule, with all its sections, relates to a source and a destination.
    fn near(&self, src: &Party, dst: &Party) -> Near {
        let mut near = Near::default();
        for (i, s) in self.program.sections.iter().enumerate() {
            let Body::Ports { protocol, to } = &s.body else { continue };
            let from = self.list(s.src).is_some_and(|l| src.is_in(l) || self.prefix_in(l, src));
            let own = !s.to_self || (src.owner.is_some() && src.owner == dst.owner);
            let named = || to.iter().filter(|(t, _)| own && target_matches(t, dst));
            let met = named().filter(|(t, _)| self.target_reaches(i, s, t, dst));
            let ports: Opened =
                met.flat_map(|(_, ports)| ports.iter()).map(|p| (*protocol, p.first, p.last)).collect();
            match (from, named().next().is_some()) {
                (true, true) if ports.is_empty() => {
                    near.stuck.insert(s.rule, self.via(s));
                }
                (true, true) => near.opens.entry(s.rule).or_default().extend(ports),
                (true, false) => {
                    near.from.insert(s.rule);
                }
                (false, true) => {
                    near.to.insert(s.rule);
                }
                (false, false) => {}
            }
        }
        near
    }

    /// The tags of the routers of a section.
    fn via(&self, s: &Section) -> String {
        let tags = s.via.iter().filter_map(|t| self.program.sel(*t)).map(|t| format!("`{t}`"));
        tags.collect::<Vec<_>>().join(" or ")
    }

    /// The place of a rule, such as `acls[2] (line 7)`.
    fn place(&self, rule: Option<usize>) -> String {
        match rule.and_then(|r| self.policy.document.rules.get(r)) {
            Some(rule) => format!("{} (line {})", rule_name(rule), self.policy.line(rule.span)),
            None => "the default".into(),
        }
    }

    /// The places of the first few rules; `None` if there are none.
    fn first_places(&self, rules: &BTreeSet<Option<usize>>) -> Option<String> {
        let shown: Vec<String> = rules.iter().take(3).map(|r| self.place(*r)).collect();
        (!shown.is_empty()).then(|| shown.join(", "))
    }
}

fn rule_name(rule: &Rule) -> String {
    let section = match rule.kind {
        RuleKind::Grant => "grants",
        RuleKind::Acl => "acls",
    };
    format!("{section}[{}]", rule.index)
}

/// Protocol, first and last port of what a rule opens.
type Opened = BTreeSet<(Option<u8>, u16, u16)>;

/// How many rules, and ports per rule, are listed; a policy may have very many.
const MAX_RULES: usize = 20;
const MAX_PORTS: usize = 20;

/// Rules that concern the source or the destination without allowing the traffic, by index in the document; `None` is
/// the default.
#[derive(Default)]
struct Near {
    /// Rules from the source to the destination, and what they open there.
    opens: BTreeMap<Option<usize>, Opened>,
    /// Rules that would be such, if a router with one of these tags served the destination.
    stuck: BTreeMap<Option<usize>, String>,
    /// Rules that have the source, and other destinations.
    from: BTreeSet<Option<usize>>,
    /// Rules that have the destination, and other sources.
    to: BTreeSet<Option<usize>>,
}

/// Ports by protocol, such as `22,80-443 and udp:53`.
fn format_opened(opened: &Opened) -> String {
    let mut by_protocol: BTreeMap<Option<u8>, Vec<PortRange>> = BTreeMap::new();
    for (protocol, first, last) in opened.iter().take(MAX_PORTS) {
        by_protocol.entry(*protocol).or_default().push(PortRange { first: *first, last: *last });
    }
    let print = |(protocol, ports): (&Option<u8>, &Vec<PortRange>)| {
        let protocol = protocol.map(|p| format!("{}:", protocol_name(p))).unwrap_or_default();
        format!("{protocol}{}", format_ports(ports))
    };
    let text = by_protocol.iter().map(print).collect::<Vec<_>>().join(" and ");
    match opened.len().saturating_sub(MAX_PORTS) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}
