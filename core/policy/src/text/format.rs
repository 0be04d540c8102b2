//! Writes a document as text. Reading that text gives the same document, so writing it again changes nothing. Comments
//! are not kept.

use std::fmt;

use headsail_wire::filter::CapMap;
use serde_json::{Map, Value, json};

use crate::text::document::*;
use crate::text::ports::{format_duration, format_ports, protocol_name};
use crate::text::selector::Selector;

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string_pretty(&self.to_json()).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

impl fmt::Display for IpSetEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.remove { "remove " } else { "" };
        write!(f, "{verb}{}", self.what)
    }
}

fn words(list: &[At<Selector>]) -> Value {
    list.iter().map(|s| Value::from(s.value.to_string())).collect()
}

fn texts(list: &[At<String>]) -> Value {
    list.iter().map(|s| Value::from(s.value.as_str())).collect()
}

fn caps(map: &CapMap) -> Value {
    Value::Object(map.iter().map(|(name, values)| (name.clone(), json!(values))).collect())
}

fn lists(named: &[Named<Vec<At<Selector>>>]) -> Value {
    Value::Object(named.iter().map(|n| (n.name.value.clone(), words(&n.value))).collect())
}

/// Adds a field unless its value is empty.
fn put(to: &mut Map<String, Value>, name: &str, value: Value) {
    let empty = match &value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
        Value::String(s) => s.is_empty(),
        _ => false,
    };
    if !empty {
        to.insert(name.into(), value);
    }
}

impl Document {
    /// The document as JSON.
    pub fn to_json(&self) -> Value {
        let mut top = Map::new();
        put(&mut top, "groups", lists(&self.groups));
        put(&mut top, "tagOwners", lists(&self.tag_owners));
        let hosts = self.hosts.iter().map(|h| (h.name.value.clone(), h.value.to_string().into()));
        put(&mut top, "hosts", Value::Object(hosts.collect()));
        let entries = |e: &At<IpSetEntry>| Value::from(e.value.to_string());
        let sets = self.ipsets.iter().map(|s| (s.name.value.clone(), s.value.iter().map(entries).collect()));
        put(&mut top, "ipsets", Value::Object(sets.collect()));
        self.put_rules(&mut top);
        put(&mut top, "ssh", self.ssh.iter().map(SshRule::to_json).collect());
        put(&mut top, "nodeAttrs", self.attrs.iter().map(NodeAttr::to_json).collect());
        put(&mut top, "autoApprovers", self.approvers.to_json());
        put(&mut top, "tests", self.tests.iter().map(Test::to_json).collect());
        put(&mut top, "sshTests", self.ssh_tests.iter().map(SshTest::to_json).collect());
        put(&mut top, "randomizeClientPort", self.randomize_client_port.into());
        put(&mut top, "disableIPv4", self.disable_ipv4.into());
        for (name, value) in &self.kept {
            top.insert(name.clone(), value.clone());
        }
        Value::Object(top)
    }

    /// An empty list of rules means that nothing is allowed, so it is written.
    fn put_rules(&self, top: &mut Map<String, Value>) {
        for (name, kind) in [("grants", RuleKind::Grant), ("acls", RuleKind::Acl)] {
            let rules = self.rules.iter().filter(|r| r.kind == kind);
            put(top, name, rules.map(Rule::to_json).collect());
        }
        if self.restricts && self.rules.is_empty() {
            top.insert("grants".into(), json!([]));
        }
    }
}

impl Rule {
    pub(crate) fn to_json(&self) -> Value {
        let mut out = Map::new();
        let src = words(&self.src);
        match self.kind {
            RuleKind::Grant => {
                out.insert("src".into(), src);
                out.insert(
                    "dst".into(),
                    self.dst.iter().map(|d| Value::from(d.value.target.to_string())).collect(),
                );
                put(&mut out, "ip", self.ip.iter().map(|i| Value::from(i.to_string())).collect());
                put(&mut out, "app", caps(&self.app));
                put(&mut out, "via", texts(&self.via));
            }
            RuleKind::Acl => {
                out.insert("action".into(), "accept".into());
                out.insert("src".into(), src);
                let dst = |d: &At<Destination>| {
                    Value::from(format!("{}:{}", d.value.target, format_ports(&d.value.ports)))
                };
                out.insert("dst".into(), self.dst.iter().map(dst).collect());
                let protocol = self.ip.first().and_then(|i| i.protocol).map(protocol_name);
                put(&mut out, "proto", protocol.into());
            }
        }
        put(&mut out, "srcPosture", json!(self.posture));
        Value::Object(out)
    }
}

impl fmt::Display for IpSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = format_ports(&self.ports);
        match self.protocol {
            Some(p) => write!(f, "{}:{ports}", protocol_name(p)),
            None => f.write_str(&ports),
        }
    }
}

impl SshRule {
    fn to_json(&self) -> Value {
        let mut out = Map::new();
        let (action, period) = match self.verb {
            SshVerb::Accept => ("accept", String::new()),
            SshVerb::Check(0) => ("check", "always".into()),
            SshVerb::Check(ns) => ("check", format_duration(ns)),
        };
        out.insert("action".into(), action.into());
        out.insert("src".into(), words(&self.src));
        out.insert("dst".into(), words(&self.dst));
        out.insert("users".into(), self.users.iter().map(|u| Value::from(u.to_string())).collect());
        if self.period_given {
            put(&mut out, "checkPeriod", period.into());
        }
        put(&mut out, "acceptEnv", json!(self.accept_env));
        put(&mut out, "recorder", json!(self.recorder));
        put(&mut out, "enforceRecorder", self.enforce_recorder.into());
        Value::Object(out)
    }
}

impl fmt::Display for SshUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SshUser::NonRoot => f.write_str("autogroup:nonroot"),
            SshUser::LocalPart(domain) => write!(f, "localpart:*@{domain}"),
            SshUser::Name(name) => f.write_str(name),
        }
    }
}

impl NodeAttr {
    fn to_json(&self) -> Value {
        let mut out = Map::new();
        out.insert("target".into(), words(&self.target));
        let (flags, apps): (CapMap, CapMap) = self.caps.clone().into_iter().partition(|(_, v)| v.is_empty());
        put(&mut out, "attr", flags.into_keys().map(Value::from).collect());
        put(&mut out, "app", caps(&apps));
        put(&mut out, "ipPool", self.pools.iter().map(|p| Value::from(p.to_string())).collect());
        Value::Object(out)
    }
}

impl Approvers {
    fn to_json(&self) -> Value {
        let mut out = Map::new();
        let routes = self.routes.iter().map(|(p, who)| (p.value.to_string(), words(who)));
        put(&mut out, "routes", Value::Object(routes.collect()));
        put(&mut out, "exitNode", words(&self.exit));
        put(&mut out, "services", lists(&self.services));
        Value::Object(out)
    }
}

impl Test {
    fn to_json(&self) -> Value {
        let mut out = Map::new();
        out.insert("src".into(), self.src.as_str().into());
        put(&mut out, "proto", self.proto.as_str().into());
        put(&mut out, "accept", texts(&self.accept));
        put(&mut out, "deny", texts(&self.deny));
        Value::Object(out)
    }
}

impl SshTest {
    fn to_json(&self) -> Value {
        let mut out = Map::new();
        out.insert("src".into(), self.src.as_str().into());
        put(&mut out, "dst", texts(&self.dst));
        put(&mut out, "accept", json!(self.accept));
        put(&mut out, "check", json!(self.check));
        put(&mut out, "deny", json!(self.deny));
        Value::Object(out)
    }
}
