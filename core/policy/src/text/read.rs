//! Reads the tree of a text into a document. Fields match regardless of case, as in Go.

use std::collections::BTreeSet;

use headsail_wire::filter::CapMap;

use crate::text::diag::{Findings, Span};
use crate::text::document::*;
use crate::text::fields::{Fields, nearest};
use crate::text::hujson::{Json, Node};
use crate::text::net::Net;
use crate::text::ports::{parse_duration, parse_ip_spec, parse_ports, parse_protocol, split_port};
use crate::text::problem::Problem;
use crate::text::quote::go_quote;
use crate::text::selector::Selector;

/// How long a check stays valid if the rule does not say: twelve hours, in nanoseconds.
pub(crate) const DEFAULT_CHECK: i64 = 12 * 3_600_000_000_000;

/// The sections of a policy.
const SECTIONS: [&str; 18] = [
    "groups",
    "tagOwners",
    "hosts",
    "ipsets",
    "grants",
    "acls",
    "ssh",
    "nodeAttrs",
    "autoApprovers",
    "tests",
    "sshTests",
    "randomizeClientPort",
    "disableIPv4",
    "postures",
    "defaultSrcPosture",
    "derpMap",
    "OneCGNATRoute",
    "extraDNSRecords",
];

/// Sections that are stored but have no effect.
const WITHOUT_EFFECT: [&str; 5] =
    ["postures", "defaultSrcPosture", "derpMap", "OneCGNATRoute", "extraDNSRecords"];

pub(crate) struct Reader<'f> {
    pub findings: &'f mut Findings,
}

impl Reader<'_> {
    /// Reads a whole policy.
    pub fn document(&mut self, root: &Node) -> Document {
        let mut doc = Document::default();
        let fields = self.fields(root, "the policy", &SECTIONS);
        let get = |name: &str| fields.get(name);
        doc.groups = self.named(get("groups"), |r, n| r.selectors(n));
        doc.tag_owners = self.named(get("tagOwners"), |r, n| r.selectors(n));
        doc.hosts = self.hosts(get("hosts"));
        doc.ipsets = self.named(get("ipsets"), |r, n| r.strings(n).into_iter().map(ipset_entry).collect());
        doc.restricts = get("grants").is_some() || get("acls").is_some();
        for (index, n) in self.items(get("grants")).into_iter().enumerate() {
            doc.rules.extend(self.grant(index, n));
        }
        for (index, n) in self.items(get("acls")).into_iter().enumerate() {
            doc.rules.extend(self.acl(index, n));
        }
        doc.ssh = self.items(get("ssh")).into_iter().filter_map(|n| self.ssh(n)).collect();
        doc.attrs = self.items(get("nodeAttrs")).into_iter().map(|n| self.node_attr(n)).collect();
        if let Some(n) = get("autoApprovers") {
            doc.approvers = self.approvers(n);
        }
        doc.tests = self.items(get("tests")).into_iter().map(|n| self.test(n)).collect();
        doc.ssh_tests = self.items(get("sshTests")).into_iter().map(|n| self.ssh_test(n)).collect();
        doc.randomize_client_port = get("randomizeClientPort").is_some_and(|n| self.boolean(n));
        doc.disable_ipv4 = get("disableIPv4").is_some_and(|n| self.boolean(n));
        for name in WITHOUT_EFFECT {
            if let Some(n) = get(name) {
                let message = format!("`{name}` has no effect yet");
                self.findings.add(Problem::SectionWithoutEffect, n.span, message);
                doc.kept.insert(name.into(), n.to_json());
            }
        }
        doc.reindex();
        doc
    }

    /// The fields of an object by their canonical names. Null counts as absent, and names that start with `#` are
    /// comments.
    fn fields<'n>(&mut self, node: &'n Node, what: &str, known: &[&'static str]) -> Fields<'n> {
        let mut fields = Fields::default();
        let Json::Object(members) = &node.value else {
            self.wrong_kind(node, what, "an object");
            return fields;
        };
        let mut spelled = BTreeSet::new();
        for m in members {
            // A second field with the same spelling was reported by the parser.
            let new = spelled.insert(m.name.as_str());
            let Some(name) = known.iter().copied().find(|k| k.eq_ignore_ascii_case(&m.name)) else {
                if !m.name.starts_with('#') {
                    let message = format!("unknown field {} in {what}", go_quote(&m.name));
                    let help = nearest(&m.name, known);
                    self.findings.add_with_help(Problem::UnknownField, m.span, message, help);
                }
                continue;
            };
            if m.value.value == Json::Null {
                continue;
            }
            if fields.put(name, &m.value) && new {
                let message = format!("`{}` appears twice, in different spellings", m.name);
                self.findings.add(Problem::DuplicateField, m.span, message);
            }
        }
        fields
    }

    fn wrong_kind(&mut self, node: &Node, what: &str, expected: &str) {
        let message = format!("{what} must be {expected}, not {}", node.value.kind());
        self.findings.add(Problem::WrongType, node.span, message);
    }

    fn items<'n>(&mut self, node: Option<&'n Node>) -> Vec<&'n Node> {
        match node.map(|n| (&n.value, n)) {
            None | Some((Json::Null, _)) => Vec::new(),
            Some((Json::Array(items), _)) => items.iter().collect(),
            Some((_, n)) => {
                self.wrong_kind(n, "this", "a list");
                Vec::new()
            }
        }
    }

    fn string(&mut self, node: &Node) -> Option<At<String>> {
        match &node.value {
            Json::String(s) => Some(At { value: s.clone(), span: node.span }),
            _ => {
                self.wrong_kind(node, "this", "a string");
                None
            }
        }
    }

    fn strings(&mut self, node: &Node) -> Vec<At<String>> {
        self.items(Some(node)).into_iter().filter_map(|n| self.string(n)).collect()
    }

    fn plain_strings(&mut self, node: Option<&Node>) -> Vec<String> {
        node.map(|n| self.strings(n)).unwrap_or_default().into_iter().map(|s| s.value).collect()
    }

    fn boolean(&mut self, node: &Node) -> bool {
        if let Json::Bool(b) = node.value {
            return b;
        }
        self.wrong_kind(node, "this", "true or false");
        false
    }

    fn selectors(&mut self, node: &Node) -> Vec<At<Selector>> {
        let strings = self.strings(node);
        strings.into_iter().map(|s| At { value: Selector::parse(&s.value), span: s.span }).collect()
    }

    fn list(&mut self, node: Option<&Node>) -> Vec<At<Selector>> {
        node.map(|n| self.selectors(n)).unwrap_or_default()
    }

    fn named<T>(
        &mut self,
        node: Option<&Node>,
        mut read: impl FnMut(&mut Self, &Node) -> T,
    ) -> Vec<Named<T>> {
        let Some(node) = node else { return Vec::new() };
        let Json::Object(members) = &node.value else {
            self.wrong_kind(node, "this", "an object");
            return Vec::new();
        };
        let named = |m: &crate::text::hujson::Member| At { value: m.name.trim().to_string(), span: m.span };
        members.iter().map(|m| Named { name: named(m), value: read(self, &m.value) }).collect()
    }

    fn hosts(&mut self, node: Option<&Node>) -> Vec<Named<Net>> {
        let read = |r: &mut Self, n: &Node| {
            let text = r.string(n)?;
            let net = Net::parse(text.value.trim());
            if net.is_none() {
                let message = format!("{}: invalid address", go_quote(&text.value));
                r.findings.add(Problem::HostAddress, n.span, message);
            }
            net
        };
        let hosts = self.named(node, read);
        hosts.into_iter().filter_map(|h| Some(Named { name: h.name, value: h.value? })).collect()
    }

    fn grant(&mut self, index: usize, node: &Node) -> Option<Rule> {
        let f = self.fields(node, "a grant", &["src", "dst", "ip", "app", "via", "srcPosture"]);
        let dst = self.list(f.get("dst"));
        let dst = dst
            .into_iter()
            .map(|d| At { span: d.span, value: Destination { target: d.value, ports: Vec::new() } });
        let mut rule = Rule {
            kind: RuleKind::Grant,
            index,
            span: node.span,
            src: self.list(f.get("src")),
            dst: dst.collect(),
            ip: Vec::new(),
            app: f.get("app").map(|n| self.caps(n)).unwrap_or_default(),
            via: f.get("via").map(|n| self.strings(n)).unwrap_or_default(),
            posture: self.plain_strings(f.get("srcPosture")),
        };
        for s in f.get("ip").map(|n| self.strings(n)).unwrap_or_default() {
            match parse_ip_spec(&s.value) {
                Ok(spec) => rule.ip.push(spec),
                Err(e) => self.findings.add(Problem::GrantIp, s.span, e),
            }
        }
        if f.get("ip").is_none_or(|n| matches!(&n.value, Json::Array(a) if a.is_empty()))
            && rule.app.is_empty()
        {
            self.findings.add(Problem::EmptyGrant, node.span, "ip and app can not both be empty");
        }
        self.posture_note(&rule);
        Some(rule)
    }

    fn posture_note(&mut self, rule: &Rule) {
        if !rule.posture.is_empty() {
            let message = "`srcPosture` has no effect yet: the rule applies to every device of its sources";
            self.findings.add(Problem::PostureWithoutEffect, rule.span, message);
        }
    }

    /// `app` of a grant: capability to its list of values.
    fn caps(&mut self, node: &Node) -> CapMap {
        let values = |r: &mut Self, n: &Node| -> Vec<_> {
            r.items(Some(n)).into_iter().filter_map(Node::to_verbatim).collect()
        };
        self.named(Some(node), values).into_iter().map(|n| (n.name.value, n.value)).collect()
    }

    /// A protocol, which may be a JSON number.
    fn number_or_name(&mut self, node: &Node) -> Option<At<String>> {
        match &node.value {
            Json::Number(number) => Some(At { value: number.clone(), span: node.span }),
            _ => self.string(node),
        }
    }

    fn acl(&mut self, index: usize, node: &Node) -> Option<Rule> {
        let known = ["action", "src", "dst", "proto", "users", "ports", "srcPosture"];
        let f = self.fields(node, "an ACL", &known);
        let action = f.get("action").and_then(|n| self.string(n)).map(|s| s.value).unwrap_or_default();
        if action.trim() != "accept" {
            let span = f.get("action").map_or(node.span, |n| n.span);
            let message = format!("action={} is not supported", go_quote(&action));
            self.findings.add(Problem::AclAction, span, message);
        }
        let proto = f.get("proto").and_then(|n| self.number_or_name(n));
        let protocol = match parse_protocol(proto.as_ref().map_or("", |p| &p.value)) {
            Ok(p) => p,
            Err(e) => {
                let span = proto.map_or(node.span, |p| p.span);
                self.findings.add(Problem::AclProtocol, span, e);
                None
            }
        };
        let src = f.get("src").or(f.get("users"));
        let dst = f.get("dst").or(f.get("ports"));
        let rule = Rule {
            kind: RuleKind::Acl,
            index,
            span: node.span,
            src: self.list(src),
            dst: dst
                .map(|n| self.strings(n))
                .unwrap_or_default()
                .into_iter()
                .filter_map(|d| self.acl_dst(d))
                .collect(),
            ip: vec![IpSpec { protocol, ports: Vec::new() }],
            app: CapMap::new(),
            via: Vec::new(),
            posture: self.plain_strings(f.get("srcPosture")),
        };
        self.posture_note(&rule);
        Some(rule)
    }

    fn acl_dst(&mut self, text: At<String>) -> Option<At<Destination>> {
        let (target, ports) = split_port(&text.value);
        let parsed = if text.value.contains(':') {
            parse_ports(ports)
        } else {
            Err("hostport must contain a colon (\":\")".into())
        };
        match parsed {
            Ok(ports) => {
                let value = Destination { target: Selector::parse(target), ports };
                Some(At { value, span: text.span })
            }
            Err(e) => {
                let message = format!("dst={}: {e}", go_quote(&text.value));
                self.findings.add(Problem::AclDestination, text.span, message);
                None
            }
        }
    }

    fn ssh(&mut self, node: &Node) -> Option<SshRule> {
        let known = [
            "action",
            "src",
            "dst",
            "users",
            "checkPeriod",
            "acceptEnv",
            "recorder",
            "enforceRecorder",
            "srcPosture",
        ];
        let f = self.fields(node, "an SSH rule", &known);
        let get = |name: &str| f.get(name);
        let verb = self.ssh_verb(node.span, get("action"), get("checkPeriod"));
        let users = self.ssh_users(node.span, get("users"));
        let accept_env = get("acceptEnv").map(|n| self.strings(n)).unwrap_or_default();
        for e in accept_env.iter().filter(|e| e.value.is_empty()) {
            self.findings.add(Problem::SshEnv, e.span, "acceptEnv values cannot be empty");
        }
        let recorder = self.plain_strings(get("recorder"));
        if !recorder.is_empty() || get("srcPosture").is_some() {
            let message = "session recorders and postures of SSH rules have no effect yet";
            self.findings.add(Problem::SshFieldsWithoutEffect, node.span, message);
        }
        Some(SshRule {
            span: node.span,
            verb: verb.unwrap_or(SshVerb::Accept),
            period_given: get("checkPeriod").is_some(),
            src: self.list(get("src")),
            dst: self.list(get("dst")),
            users,
            accept_env: accept_env.into_iter().map(|e| e.value).collect(),
            recorder,
            enforce_recorder: get("enforceRecorder").is_some_and(|n| self.boolean(n)),
        })
    }

    fn ssh_verb(&mut self, whole: Span, action: Option<&Node>, period: Option<&Node>) -> Option<SshVerb> {
        let text = action.and_then(|n| self.string(n)).map(|s| s.value).unwrap_or_default();
        let span = action.map_or(whole, |n| n.span);
        let period = period.and_then(|n| Some((self.string(n)?.value, n.span)));
        let period = match period.as_ref().map(|(p, at)| (p.trim(), *at)) {
            None => DEFAULT_CHECK,
            Some(("always", _)) => 0,
            Some((p, at)) => self.check_period(p, at).unwrap_or(DEFAULT_CHECK),
        };
        match text.trim() {
            "accept" => Some(SshVerb::Accept),
            "check" => Some(SshVerb::Check(period)),
            "" => {
                self.findings.add(Problem::SshAction, span, "action must be specified");
                None
            }
            other => {
                let message = format!("{} is not a valid action", go_quote(other));
                self.findings.add(Problem::SshAction, span, message);
                None
            }
        }
    }

    fn check_period(&mut self, text: &str, at: Span) -> Option<i64> {
        const MAX: i64 = 168 * 3_600_000_000_000;
        let period = parse_duration(text);
        let print = crate::text::ports::format_duration;
        let message = match period {
            Err(ref e) => e.clone(),
            Ok(ns) if ns < 0 => format!("checkPeriod {} must be a positive duration", print(ns)),
            Ok(ns) if ns > MAX => format!("checkPeriod {} is above the max (168h)", print(ns)),
            Ok(ns) => return Some(ns),
        };
        self.findings.add(Problem::SshPeriod, at, message);
        None
    }

    fn ssh_users(&mut self, whole: Span, node: Option<&Node>) -> Vec<SshUser> {
        let users = node.map(|n| self.strings(n)).unwrap_or_default();
        if users.is_empty() {
            let span = node.map_or(whole, |n| n.span);
            self.findings.add(Problem::SshWithoutUsers, span, "users must be specified");
        }
        let mut out = Vec::new();
        for u in users {
            match u.value.trim() {
                bad @ ("" | "*") => {
                    let message = format!("user {} is not valid", go_quote(bad));
                    self.findings.add(Problem::SshUser, u.span, message);
                }
                "autogroup:nonroot" => out.push(SshUser::NonRoot),
                name => out.push(match name.strip_prefix("localpart:*@") {
                    Some(domain) => SshUser::LocalPart(domain.into()),
                    None => SshUser::Name(name.into()),
                }),
            }
        }
        out
    }

    fn node_attr(&mut self, node: &Node) -> NodeAttr {
        let f = self.fields(node, "a node attribute", &["target", "attr", "app", "ipPool"]);
        let mut caps = f.get("app").map(|n| self.caps(n)).unwrap_or_default();
        caps.extend(self.plain_strings(f.get("attr")).into_iter().map(|a| (a, Vec::new())));
        let mut pools = Vec::new();
        for p in f.get("ipPool").map(|n| self.strings(n)).unwrap_or_default() {
            match crate::text::net::parse_pool(p.value.trim()) {
                Ok(pool) => pools.push(pool),
                Err(e) => {
                    let message = format!("IPPool({}): {e}", p.value.trim());
                    self.findings.add(Problem::Pool, p.span, message);
                }
            }
        }
        NodeAttr { span: node.span, target: self.list(f.get("target")), caps, pools }
    }

    fn approvers(&mut self, node: &Node) -> Approvers {
        let f = self.fields(node, "`autoApprovers`", &["routes", "exitNode", "services"]);
        let mut out = Approvers {
            routes: Vec::new(),
            exit: self.list(f.get("exitNode")),
            services: self.named(f.get("services"), |r, n| r.selectors(n)),
        };
        if let Some(n) = f.get("services") {
            let message = "`autoApprovers.services` has no effect yet";
            self.findings.add(Problem::ServicesWithoutEffect, n.span, message);
        }
        for r in self.named(f.get("routes"), |r, n| r.selectors(n)) {
            match Net::parse(&r.name.value) {
                Some(Net::Prefix(p)) => out.routes.push((At { value: p, span: r.name.span }, r.value)),
                _ => {
                    let message = format!("{}: invalid prefix", go_quote(&r.name.value));
                    self.findings.add(Problem::RoutePrefix, r.name.span, message);
                }
            }
        }
        out
    }

    fn test(&mut self, node: &Node) -> Test {
        let known = ["src", "user", "proto", "accept", "allow", "deny", "srcPostureAttrs"];
        let f = self.fields(node, "a test", &known);
        let text = |r: &mut Self, name: &str| f.get(name).and_then(|n| r.string(n)).map(|s| s.value);
        Test {
            span: node.span,
            src: text(self, "src").or_else(|| text(self, "user")).unwrap_or_default().trim().into(),
            proto: f.get("proto").and_then(|n| self.number_or_name(n)).map(|p| p.value).unwrap_or_default(),
            accept: f.get("accept").or(f.get("allow")).map(|n| self.strings(n)).unwrap_or_default(),
            deny: f.get("deny").map(|n| self.strings(n)).unwrap_or_default(),
        }
    }

    fn ssh_test(&mut self, node: &Node) -> SshTest {
        let f =
            self.fields(node, "an SSH test", &["src", "dst", "accept", "check", "deny", "srcPostureAttrs"]);
        SshTest {
            span: node.span,
            src: f.get("src").and_then(|n| self.string(n)).map(|s| s.value).unwrap_or_default().trim().into(),
            dst: f.get("dst").map(|n| self.strings(n)).unwrap_or_default(),
            accept: self.plain_strings(f.get("accept")),
            check: self.plain_strings(f.get("check")),
            deny: self.plain_strings(f.get("deny")),
        }
    }
}

/// Reads an entry of `ipsets`: `add` or `remove`, a space, and what; without a verb it is added.
fn ipset_entry(text: At<String>) -> At<IpSetEntry> {
    let entry = text.value.trim();
    let (remove, what) = match entry.split_once(char::is_whitespace) {
        Some(("add", what)) => (false, what),
        Some(("remove", what)) => (true, what),
        _ => (false, entry),
    };
    At { value: IpSetEntry { remove, what: Selector::parse(what) }, span: text.span }
}
