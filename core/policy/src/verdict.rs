//! May this reach that? The question behind `tests`, `sshTests` and explanations, asked of nodes that are there and of
//! people, tags and addresses without a node alike.

use std::collections::BTreeSet;
use std::net::IpAddr;

use headsail_wire::filter::PortRange;
use headsail_wire::ids::{NodeId, UserId};
use serde::Serialize;

use crate::document::{SshTest, SshVerb, Test};
use crate::engine::Engine;
use crate::facts::{NodeFacts, Owner};
use crate::net::{ANY_SOURCE, EXIT_ROUTES, Net, is_exit_route};
use crate::ports::{ALL_PORTS, parse_protocol};
use crate::program::{Body, List, Section, Target};
use crate::selector::{Auto, Selector, users_named};
use crate::signature::Signature;

/// One end of a question.
#[derive(Clone, Debug, Default)]
pub(crate) struct Party {
    pub node: Option<NodeId>,
    pub signature: Signature,
    pub addresses: Vec<IpAddr>,
    /// A prefix that is meant as a whole.
    pub prefix: Option<Net>,
    pub owner: Option<UserId>,
    /// Whether `*` as a source takes it in.
    pub inside: bool,
    pub internet: bool,
}

impl Party {
    /// Whether it stands for somebody who has no node.
    pub fn is_imagined(&self) -> bool {
        self.node.is_none() && self.addresses.is_empty() && self.prefix.is_none() && !self.internet
    }

    pub fn is_in(&self, list: &List) -> bool {
        list.danger || (list.any && self.inside) || list.sels().any(|s| self.signature.has(s))
    }
}

/// What a policy test found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TestFailure {
    /// Line of the test in the policy, from 1.
    pub line: usize,
    /// The source of the test.
    pub src: String,
    /// The destination or account that came out differently; empty when the test as a whole can't be run.
    pub what: String,
    /// What was expected and what is.
    pub message: String,
}

impl Engine {
    /// A node as one end of a question.
    pub(crate) fn party(&self, id: NodeId) -> Option<Party> {
        let facts = self.node(id)?;
        // What a router routes does not make the router itself a source or a destination.
        let signature = self.signature(&NodeFacts { approved: Vec::new(), ..facts.clone() });
        let addresses = facts.addresses().collect();
        let owner = facts.user();
        Some(Party { node: Some(id), signature, addresses, owner, inside: true, ..Party::default() })
    }

    /// Somebody without a node.
    fn imagined(&self, owner: Owner) -> Option<Party> {
        let user = match &owner {
            Owner::User(id) => Some(*id),
            Owner::Tags(_) => None,
        };
        let signature = self.signature(&NodeFacts::new(NodeId::new(NodeId::MAX)?, owner, None, None));
        Some(Party { signature, owner: user, inside: true, ..Party::default() })
    }

    /// An address, and nothing else: rules that name its node mean it too, but not those that speak of other addresses.
    fn address_party(&self, a: IpAddr) -> Party {
        let node = self.by_addr.get(&a).and_then(|n| self.party(*n)).unwrap_or_default();
        let mut sels = node.signature.sels;
        sels.retain(|s| self.program.net(*s).is_none());
        self.program.nets_of(a, &mut sels);
        sels.sort();
        let pool = ANY_SOURCE.iter().filter_map(|t| Net::parse(t)).any(|n| n.contains(a));
        let inside = pool || self.subnet_routes().any(|r| r.contains(&a));
        let signature = Signature { sels, ..node.signature };
        Party { signature, addresses: vec![a], inside, ..node }
    }

    /// Whom a name in a test or a question stands for: nodes that are there, else somebody imagined. Empty when nobody.
    /// Of nodes that the policy can't tell apart there is one.
    pub(crate) fn parties(&self, name: &str) -> Vec<Party> {
        let mut parties = self.all_parties(name);
        let mut seen = BTreeSet::new();
        parties.retain(|p| {
            // Where an address leads that no node has depends on who routes it.
            let routed = if p.node.is_some() { Vec::new() } else { p.addresses.clone() };
            seen.insert((p.signature.sels.clone(), p.owner, p.prefix, p.node.is_some(), p.inside, routed))
        });
        parties
    }

    fn all_parties(&self, name: &str) -> Vec<Party> {
        match Selector::parse(name) {
            Selector::Any => vec![Party { inside: true, ..Party::default() }],
            Selector::Auto(Auto::Internet) if EXIT_ROUTES.iter().any(|r| self.routes.get(r).is_some()) => {
                vec![Party { internet: true, ..Party::default() }]
            }
            Selector::Tag(t) if self.tag_exists(&t) => {
                let tagged = self.nodes().filter(|n| n.tags().contains(&t));
                self.or_imagined(tagged.map(|n| n.id).collect(), || Owner::Tags(vec![t.clone()]))
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
            Selector::User(token) => self.people(users_named(&token, self.users())),
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
        users.iter().flat_map(|u| self.or_imagined(nodes(u), || Owner::User(*u))).collect()
    }

    fn or_imagined(&self, nodes: Vec<NodeId>, owner: impl Fn() -> Owner) -> Vec<Party> {
        if nodes.is_empty() {
            return self.imagined(owner()).into_iter().collect();
        }
        nodes.into_iter().filter_map(|n| self.party(n)).collect()
    }

    /// The first section that lets traffic of `src` reach `dst`.
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
        // Clients let a ping through to every address of which one port is open (`matchIPsOnly`, `wgengine/filter/match.go`).
        let ping = matches!(protocol, Some(1 | 58));
        let protocol_ok = match (protocol, opened) {
            _ if ping => true,
            (None, None) => true,
            (None, Some(o)) => matches!(o, 6 | 17),
            (Some(p), None) => matches!(p, 6 | 17),
            (Some(p), Some(o)) => p == *o,
        };
        if !protocol_ok || (s.own && (src.owner.is_none() || src.owner != dst.owner)) {
            return false;
        }
        let from = self.list(s.src).is_some_and(|l| src.is_in(l) || self.prefix_in(l, src));
        let portless = protocol.is_some_and(|p| !crate::ports::has_ports(p));
        let port_ok = |ports: &[PortRange]| {
            ping || ports.iter().any(|p| match portless {
                true => *p == ALL_PORTS,
                false => p.first <= port && port <= p.last,
            })
        };
        from && to.iter().any(|(t, ports)| port_ok(ports) && self.target_is(index, s, t, dst))
    }

    fn prefix_in(&self, list: &List, party: &Party) -> bool {
        let Some(prefix) = party.prefix else { return false };
        list.nets.iter().filter_map(|n| self.program.net(*n)).any(|n| holds(&n, &prefix))
    }

    pub(crate) fn target_is(&self, index: usize, section: &Section, target: &Target, dst: &Party) -> bool {
        let routed = |a: &IpAddr| {
            let servers = self.routes.iter().filter(|(r, _)| !is_exit_route(r) && r.contains(a));
            section.via.is_empty()
                || servers
                    .flat_map(|(_, row)| &row.servers)
                    .filter_map(|n| self.nodes.get(n))
                    .any(|n| self.reached(index, section).is_some_and(|b| b.has(n.class as usize)))
        };
        match target {
            Target::Own => true,
            Target::Any => true,
            Target::Nodes(sel) => dst.signature.has(*sel),
            Target::Internet => {
                dst.internet || (dst.node.is_none() && dst.addresses.iter().any(|a| is_public(*a)))
            }
            Target::Net(net) => {
                dst.addresses.iter().any(|a| net.contains(*a) && routed(a))
                    || dst.prefix.is_some_and(|p| holds(net, &p))
            }
        }
    }

    /// Runs `tests` and `sshTests` of the policy; empty when all pass.
    pub fn run_tests(&self) -> Vec<TestFailure> {
        let doc = &self.policy.document;
        let mut failures = Vec::new();
        for t in &doc.tests {
            self.run_test(t, &mut failures);
        }
        for t in &doc.ssh_tests {
            self.run_ssh_test(t, &mut failures);
        }
        failures
    }

    fn run_test(&self, test: &Test, failures: &mut Vec<TestFailure>) {
        let line = self.policy.line(test.span);
        let mut fail = |what: &str, message: String| {
            failures.push(TestFailure { line, src: test.src.clone(), what: what.into(), message });
        };
        if test.accept.is_empty() && test.deny.is_empty() {
            return fail("", "the test has neither `accept` nor `deny`".into());
        }
        let protocol = match parse_protocol(&test.proto) {
            Ok(p) => p,
            Err(e) => return fail("", e),
        };
        let sources = self.parties(&test.src);
        if sources.is_empty() {
            return fail("", format!("source `{}` is not known", test.src));
        }
        let all = test.accept.iter().map(|d| (d, true)).chain(test.deny.iter().map(|d| (d, false)));
        for (dst, expected) in all {
            match self.reaches(&sources, &dst.value, protocol) {
                Err(e) => fail(&dst.value, e),
                Ok((got_all, got_any)) => {
                    if expected && !got_all {
                        fail(
                            &dst.value,
                            format!("`{}` must reach `{}`, but no rule lets it", test.src, dst.value),
                        );
                    }
                    if !expected && got_any {
                        fail(
                            &dst.value,
                            format!("`{}` must not reach `{}`, but a rule lets it", test.src, dst.value),
                        );
                    }
                }
            }
        }
    }

    /// Whether all, and whether any, of the sources reach all, or any, of what a destination with port stands for.
    fn reaches(&self, sources: &[Party], dst: &str, protocol: Option<u8>) -> Result<(bool, bool), String> {
        let (name, port) = crate::read::split_port(dst);
        let port: u16 = port.parse().map_err(|_| format!("`{dst}` must end in one port"))?;
        let selector = Selector::parse(name);
        if name.contains('/') && matches!(selector, Selector::Net(_)) {
            return Err(format!("`{name}` is a prefix; name one address or a host"));
        }
        let to_self = selector == Selector::Auto(Auto::SelfOwned);
        let fixed = if to_self { Vec::new() } else { self.parties(name) };
        let (mut all, mut any) = (true, false);
        for src in sources {
            let own = || src.owner.map(|o| self.people(vec![o])).unwrap_or_default();
            let targets = if to_self { own() } else { fixed.clone() };
            if targets.is_empty() {
                return Err(format!("destination `{name}` is not known"));
            }
            for dst in &targets {
                let ok = self.allows(src, dst, protocol, port).is_some();
                (all, any) = (all && ok, any || ok);
            }
        }
        Ok((all, any))
    }

    fn run_ssh_test(&self, test: &SshTest, failures: &mut Vec<TestFailure>) {
        let line = self.policy.line(test.span);
        let mut fail = |what: &str, message: String| {
            failures.push(TestFailure { line, src: test.src.clone(), what: what.into(), message });
        };
        if test.accept.is_empty() && test.check.is_empty() && test.deny.is_empty() {
            return fail("", "the SSH test has none of `accept`, `check` and `deny`".into());
        }
        let sources = self.parties(&test.src);
        if sources.is_empty() {
            return fail("", format!("source `{}` is not known", test.src));
        }
        for d in &test.dst {
            let targets = self.ssh_targets(d.value.trim());
            if targets.is_empty() {
                fail(&d.value, format!("destination `{}` is no node", d.value));
                continue;
            }
            let pairs: Vec<(&Party, &Party)> =
                sources.iter().flat_map(|s| targets.iter().map(move |t| (s, t))).collect();
            let groups = [("accept", &test.accept), ("check", &test.check), ("deny", &test.deny)];
            for (verb, account) in
                groups.iter().flat_map(|(v, accounts)| accounts.iter().map(move |a| (*v, a)))
            {
                let good = |found: Option<SshVerb>| match verb {
                    "accept" => matches!(found, Some(SshVerb::Accept)),
                    "check" => matches!(found, Some(SshVerb::Check(_))),
                    _ => found.is_none(),
                };
                let verdict = |(s, t): &(&Party, &Party)| self.ssh_verdict(s, t, account).map(|(v, _)| v);
                if let Some(found) = pairs.iter().map(verdict).find(|v| !good(*v)) {
                    let is = match found {
                        None => "is refused",
                        Some(SshVerb::Accept) => "is let in",
                        Some(SshVerb::Check(_)) => "is let in after a check",
                    };
                    fail(
                        &d.value,
                        format!("expected `{verb}` for account `{account}` at `{}`, but it {is}", d.value),
                    );
                }
            }
        }
    }

    /// SSH goes to nodes, which tests name by tag, user, host or IPv4 address.
    fn ssh_targets(&self, name: &str) -> Vec<Party> {
        if matches!(Selector::parse(name), Selector::Net(n) if n.single().is_some_and(|a| a.is_ipv6())) {
            return Vec::new();
        }
        self.parties(name).into_iter().filter(|p| p.node.is_some() || !p.signature.sels.is_empty()).collect()
    }
}

fn holds(outer: &Net, inner: &Net) -> bool {
    let ((a, b), (c, d)) = (outer.bounds(), inner.bounds());
    a.is_ipv4() == c.is_ipv4() && a <= c && d <= b
}

fn is_public(a: IpAddr) -> bool {
    crate::net::INTERNET.iter().filter_map(|t| Net::parse(t)).any(|n| n.contains(a))
}
