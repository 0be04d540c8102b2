//! Checks whether a document is valid: one function per section, reporting every problem, in the words of the official
//! service where it has any.

use std::collections::BTreeSet;

use crate::text::diag::{Findings, Span};
use crate::text::document::*;
use crate::text::problem::Problem;
use crate::text::quote::go_quote;
use crate::text::selector::{Auto, Selector};

/// What a document is checked against, apart from itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The domains of the tailnet that `user:*@…` and `localpart:*@…` may name. Empty means no restriction.
    pub domains: Vec<String>,
}

/// Capabilities of the tailscale.com domain that a grant may give.
const GRANTABLE: [&str; 9] = [
    "tailscale.com/cap/drive",
    "tailscale.com/cap/golink",
    "tailscale.com/cap/kubernetes",
    "tailscale.com/cap/proxy-to-grafana",
    "tailscale.com/cap/relay",
    "tailscale.com/cap/secrets",
    "tailscale.com/cap/tsidp",
    "tailscale.com/cap/webui",
    "tailscale.com/cap/ai",
];

/// Checks a document that was read from `text`.
pub(crate) fn check(text: &str, doc: &Document, settings: &Settings, findings: &mut Findings) {
    let mut c = Check { text, doc, settings, findings };
    c.groups();
    c.tag_owners();
    c.hosts();
    c.ipsets();
    for rule in &doc.rules {
        c.rule(rule);
    }
    for rule in &doc.ssh {
        c.ssh(rule);
    }
    for attr in &doc.attrs {
        c.attr(attr);
    }
    c.approvers();
    for test in &doc.ssh_tests {
        c.ssh_test(test);
    }
    crate::text::size::check(doc, c.findings);
}

struct Check<'a> {
    text: &'a str,
    doc: &'a Document,
    settings: &'a Settings,
    findings: &'a mut Findings,
}

impl Check<'_> {
    /// A selector quoted as it is written, which may differ from how it prints; a destination without its ports.
    fn written(&self, span: Span, read: &Selector) -> String {
        let literal = self.text.get(span.start..span.end).unwrap_or_default();
        let text = serde_json::from_str::<String>(literal).unwrap_or_default();
        let target = crate::text::ports::split_port(&text).0;
        let same = |t: &&str| Selector::parse(t) == *read;
        go_quote([text.trim(), target].into_iter().find(same).unwrap_or(&read.to_string()))
    }

    fn groups(&mut self) {
        for g in &self.doc.groups {
            let name = &g.name.value;
            let side = format!("groups[{}]: ", go_quote(name));
            if name.strip_prefix("group:").is_none_or(str::is_empty) {
                let message = format!("{side}group names must start with 'group:'");
                self.findings.add(Problem::GroupName, g.name.span, message);
            }
            for m in &g.value {
                match &m.value {
                    Selector::User(_) => {}
                    Selector::Domain(d) => self.domain(d, m.span, &side),
                    Selector::Group(inner) => {
                        let message = format!("{side}{}: group members cannot be recursive", go_quote(inner));
                        self.findings.add(Problem::NestedGroup, m.span, message);
                    }
                    Selector::Host(plain) if !plain.is_empty() => self.plain_user(plain, m.span),
                    other => {
                        let member = self.written(m.span, other);
                        let message = format!("{side}{member}: group members must be users");
                        self.findings.add(Problem::GroupMember, m.span, message);
                    }
                }
            }
        }
    }

    /// Warns of a name without `@` where only a user can be meant.
    fn plain_user(&mut self, name: &str, span: Span) {
        let message = format!("`{name}` is read as the user `{name}@`");
        self.findings.add(Problem::PlainUser, span, message);
    }

    fn tag_owners(&mut self) {
        for t in &self.doc.tag_owners {
            let side = format!("tagOwners[{}]: ", go_quote(&t.name.value));
            if let Err(e) = crate::text::tags::check_tag(&t.name.value) {
                self.findings.add(Problem::TagName, t.name.span, format!("{side}{e}"));
            }
            for o in &t.value {
                match &o.value {
                    Selector::User(u) if !u.contains('@') => self.plain_user(u, o.span),
                    Selector::Host(plain) if !plain.is_empty() => self.plain_user(plain, o.span),
                    Selector::User(_) | Selector::Auto(Auto::Member | Auto::Role(_)) => {}
                    Selector::Tag(_)
                    | Selector::Group(_)
                    | Selector::Domain(_)
                    | Selector::Auto(Auto::Unknown(_)) => self.known(&o.value, o.span, &side),
                    other => {
                        let message = format!("{side}{} can't own a tag", self.written(o.span, other));
                        self.findings.add(Problem::TagOwner, o.span, message);
                    }
                }
            }
        }
        for t in crate::text::tags::cycles(self.doc) {
            let message = format!("`{}` owns itself through other tags", t.value);
            self.findings.add(Problem::TagCycle, t.span, message);
        }
    }

    fn hosts(&mut self) {
        for h in &self.doc.hosts {
            let name = &h.name.value;
            if name.is_empty() || Selector::parse(name) != Selector::Host(name.clone()) {
                let message = format!("hosts[{}]: invalid host name", go_quote(name));
                self.findings.add(Problem::HostName, h.name.span, message);
            }
        }
    }

    fn ipsets(&mut self) {
        for set in &self.doc.ipsets {
            let name = &set.name.value;
            let side = format!("ipsets[{}]: ", go_quote(name));
            if name.strip_prefix("ipset:").is_none_or(str::is_empty) {
                let message = format!("{side}ipset names must start with 'ipset:'");
                self.findings.add(Problem::IpSetName, set.name.span, message);
            }
            for entry in &set.value {
                match &entry.value.what {
                    what @ (Selector::Net(_) | Selector::Host(_) | Selector::IpSet(_)) => {
                        self.known(what, entry.span, &side);
                    }
                    other => {
                        let message = format!("{side}{}: invalid address", go_quote(&other.to_string()));
                        self.findings.add(Problem::IpSetEntry, entry.span, message);
                    }
                }
            }
        }
        let circular: BTreeSet<_> = self.doc.sets().circular.iter().collect();
        for name in circular.into_iter().filter_map(|i| self.doc.ipsets.get(*i)).map(|s| &s.name) {
            let message = format!("ipsets[{}]: an ipset can not contain itself", go_quote(&name.value));
            self.findings.add(Problem::IpSetCycle, name.span, message);
        }
    }

    /// Reports undefined names. `side` is put before the message, such as `src=`.
    fn known(&mut self, s: &Selector, span: Span, side: &str) {
        match s {
            Selector::Tag(t) if self.doc.tag(t).is_none() => {
                let message = format!("{side}tag not found: {}", go_quote(t));
                self.findings.add(Problem::UnknownTag, span, message);
            }
            Selector::Group(g) if self.doc.group(g).is_none() => {
                let message = format!("{side}group not found: {}", go_quote(g));
                self.findings.add(Problem::UnknownGroup, span, message);
            }
            Selector::Host(h) if self.doc.host(h).is_none() => {
                let message = format!("{side}{}: invalid address", go_quote(h));
                self.findings.add(Problem::UnknownHost, span, message);
            }
            Selector::IpSet(i) if self.doc.ipset_index(i).is_none() => {
                let message = format!("{side}ipset not found: {}", go_quote(i));
                self.findings.add(Problem::UnknownIpSet, span, message);
            }
            Selector::Domain(d) => self.domain(d, span, side),
            Selector::Auto(Auto::Unknown(name)) => {
                let message =
                    format!("{side}autogroup not found: {}", go_quote(&format!("autogroup:{name}")));
                self.findings.add(Problem::UnknownAutogroup, span, message);
            }
            Selector::Auto(Auto::Shared) | Selector::Service(_) => {
                let message = format!("`{s}` matches nothing");
                self.findings.add(Problem::SelectorWithoutEffect, span, message);
            }
            _ => {}
        }
    }

    fn domain(&mut self, domain: &str, span: Span, side: &str) {
        if !self.settings.domains.is_empty() && !self.settings.domains.iter().any(|d| d == domain) {
            let message = format!(
                "{side}{domain} is not associated with this Tailnet and cannot be used in user:*@<domain> expressions"
            );
            let help = format!("domains of this tailnet: {}", self.settings.domains.join(", "));
            self.findings.add_with_help(Problem::ForeignDomain, span, message, help);
        }
    }

    fn sources(&mut self, src: &[At<Selector>]) {
        for s in src {
            if let Selector::Auto(Auto::SelfOwned | Auto::Internet | Auto::NonRoot) = &s.value {
                let message =
                    format!("{} not valid on the src side of a rule", self.written(s.span, &s.value));
                self.findings.add(Problem::Source, s.span, message);
            } else {
                self.known(&s.value, s.span, "src=");
            }
        }
    }

    fn rule(&mut self, rule: &Rule) {
        self.sources(&rule.src);
        for d in &rule.dst {
            self.destination(rule, &d.value.target, d.span);
        }
        let grant = rule.kind == RuleKind::Grant;
        let to_self = rule.dst.iter().find(|d| d.value.target == Selector::Auto(Auto::SelfOwned));
        let people = |s: &At<Selector>| s.value.is_people() || (!grant && s.value == Selector::Any);
        if let (Some(d), false) = (to_self, rule.src.iter().all(people)) {
            let message = "autogroup:self can only be used with users, groups, or supported autogroups";
            self.findings.add(Problem::SelfWithoutUsers, d.span, message);
        }
        for cap in rule.app.keys() {
            self.capability(cap, rule.span);
        }
        for via in &rule.via {
            match Selector::parse(&via.value) {
                Selector::Tag(t) if self.doc.tag(&t).is_some() => {}
                Selector::Tag(t) => {
                    let message = format!("tag {} not found", go_quote(&t));
                    self.findings.add(Problem::UnknownTag, via.span, message);
                }
                _ => self.findings.add(Problem::Via, via.span, "via can only be a tag"),
            }
        }
    }

    fn destination(&mut self, rule: &Rule, target: &Selector, span: Span) {
        let grant = rule.kind == RuleKind::Grant;
        match target {
            Selector::Auto(Auto::DangerAll) => {
                let message = "cannot use autogroup:danger-all as a dst";
                self.findings.add(Problem::DangerAllDestination, span, message);
            }
            Selector::Auto(Auto::NonRoot) => {
                let message = "\"autogroup:nonroot\" not valid on the dst side of a rule";
                self.findings.add(Problem::NonRootDestination, span, message);
            }
            Selector::Auto(Auto::Internet) if !rule.app.is_empty() => {
                let message = "cannot use app grants with autogroup:internet";
                self.findings.add(Problem::CapabilityOnInternet, span, message);
            }
            Selector::Net(n) if grant && n.is_everything() => {
                let target = self.written(span, target);
                let message =
                    format!("dst {target}: to allow all IP addresses, use \"*\" or \"autogroup:internet\"");
                self.findings.add(Problem::EverythingDestination, span, message);
            }
            _ => self.known(target, span, &format!("dst={}: ", self.written(span, target))),
        }
    }

    fn capability(&mut self, cap: &str, span: Span) {
        let (domain, path) = cap.split_once('/').unwrap_or((cap, ""));
        let domain_ok = !domain.is_empty() && domain.contains('.') && !domain.contains(':');
        if !domain_ok || path.is_empty() {
            let message = "capability name must have the form {domain}/{path}";
            let help = format!("`{cap}` is not like `example.com/cap/name`");
            self.findings.add_with_help(Problem::Capability, span, message, help);
        } else if (domain == "tailscale.com" || domain.ends_with(".tailscale.com"))
            && !GRANTABLE.contains(&cap)
        {
            let message = "capability name must not be in the tailscale.com domain";
            let help =
                format!("`{cap}` can't be granted; of that domain there are: {}", GRANTABLE.join(", "));
            self.findings.add_with_help(Problem::Capability, span, message, help);
        }
    }

    fn ssh(&mut self, rule: &SshRule) {
        for s in &rule.src {
            match &s.value {
                Selector::Any | Selector::Net(_) | Selector::Host(_) | Selector::IpSet(_) => {
                    let message = format!("invalid src {}", self.written(s.span, &s.value));
                    self.findings.add(Problem::SshSource, s.span, message);
                }
                Selector::Domain(d) => self.domain(d, s.span, "[ssh] "),
                _ => self.sources(std::slice::from_ref(s)),
            }
        }
        let users: Vec<&Selector> = rule.src.iter().map(|s| &s.value).collect();
        for d in &rule.dst {
            self.ssh_destination(&users, d);
        }
        for u in &rule.users {
            if let SshUser::LocalPart(domain) = u
                && !domain.is_empty()
            {
                self.domain(domain, rule.span, "");
            }
        }
    }

    fn ssh_destination(&mut self, src: &[&Selector], d: &At<Selector>) {
        match &d.value {
            Selector::Tag(_) => {
                self.known(&d.value, d.span, &format!("dst={}: ", self.written(d.span, &d.value)))
            }
            Selector::Auto(Auto::SelfOwned) => {
                if !src.iter().all(|s| s.is_people()) {
                    let message =
                        "autogroup:self can only be used with users, groups, or supported autogroups";
                    self.findings.add(Problem::SshSelfWithoutUsers, d.span, message);
                }
            }
            Selector::Auto(Auto::Member | Auto::Tagged | Auto::Role(_)) => {}
            Selector::User(_) if src.iter().all(|s| **s == d.value) => {}
            Selector::User(u) => {
                let message = format!("users in dst [{}] are only allowed from the same user", go_quote(u));
                self.findings.add(Problem::SshDestination, d.span, message);
            }
            other => {
                let message = format!("invalid dst {}", self.written(d.span, other));
                self.findings.add(Problem::SshDestination, d.span, message);
            }
        }
    }

    fn attr(&mut self, attr: &NodeAttr) {
        for t in &attr.target {
            match &t.value {
                Selector::Auto(Auto::SelfOwned | Auto::Internet | Auto::NonRoot | Auto::DangerAll) => {
                    let target = self.written(t.span, &t.value);
                    let message = format!("{target} is not valid as a target of nodeAttrs");
                    self.findings.add(Problem::AttrTarget, t.span, message);
                }
                _ => self.known(&t.value, t.span, ""),
            }
        }
    }

    fn approvers(&mut self) {
        let doc = self.doc;
        let all = doc.approvers.routes.iter().flat_map(|(_, who)| who).chain(&doc.approvers.exit);
        for a in all.chain(doc.approvers.services.iter().flat_map(|s| &s.value)) {
            match &a.value {
                Selector::Host(plain) if !plain.is_empty() => self.plain_user(plain, a.span),
                Selector::User(_) | Selector::Auto(Auto::Member | Auto::Tagged | Auto::Role(_)) => {}
                Selector::Tag(_)
                | Selector::Group(_)
                | Selector::Domain(_)
                | Selector::Auto(Auto::Unknown(_)) => self.known(&a.value, a.span, ""),
                other => {
                    let message = format!("{} can't approve routes", self.written(a.span, other));
                    self.findings.add(Problem::Approver, a.span, message);
                }
            }
        }
    }

    fn ssh_test(&mut self, test: &SshTest) {
        for d in &test.dst {
            let text = d.value.trim();
            match Selector::parse(text) {
                Selector::Tag(t) if self.doc.tag(&t).is_none() => {
                    let message = format!("SSH tests dst contains unknown tag {}", go_quote(&t));
                    self.findings.add(Problem::UnknownTag, d.span, message);
                }
                Selector::Tag(_) | Selector::User(_) | Selector::Host(_) => {}
                Selector::Net(n) if n.single().is_some() && !text.contains('/') => {}
                _ => {
                    let message = format!("SSH tests dst contains disallowed element {}", go_quote(text));
                    self.findings.add(Problem::SshTestDestination, d.span, message);
                }
            }
        }
    }
}
