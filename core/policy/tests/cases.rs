//! Runs the pages under `cases/`: each section is a policy, the users and nodes of a tailnet, and what follows from them.
//! `cases/README.md` says how to write one.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken fixture ends the test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use headsail_policy::{Engine, NodeFacts, Owner, Policy, Role, Settings, UserFacts, is_exit_route, routes};
use headsail_wire::ids::{NodeId, UserId};
use ipnet::IpNet;

#[test]
fn every_fact_on_the_case_pages_is_true() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut pages: Vec<_> = std::fs::read_dir(dir).expect("the pages").flatten().map(|e| e.path()).collect();
    pages.sort();
    let (mut checked, mut wrong) = (0, Vec::new());
    for page in pages.iter().filter(|p| p.extension().is_some_and(|e| e == "md") && !p.ends_with("README.md"))
    {
        let text = std::fs::read_to_string(page).expect("a page");
        let name = page.file_stem().and_then(|n| n.to_str()).unwrap_or_default();
        for section in sections(&text) {
            for line in &section.expected {
                checked += 1;
                if let Err(e) = section.check(line) {
                    wrong.push(format!("{name}, {}: `{line}`: {e}", section.title));
                }
            }
        }
    }
    assert!(checked > 80, "only {checked} expectations were found");
    assert!(wrong.is_empty(), "{} of {checked} do not hold:\n{}", wrong.len(), wrong.join("\n"));
}

#[derive(Clone, Default)]
struct Section {
    title: String,
    policy: Option<String>,
    users: Vec<UserFacts>,
    nodes: Vec<NodeFacts>,
    expected: Vec<String>,
}

/// The sections of a page. A section without a table keeps the users or nodes of the one before.
fn sections(text: &str) -> Vec<Section> {
    let mut out = Vec::new();
    let mut now = Section::default();
    let (mut block, mut in_block) = (String::new(), None::<String>);
    let mut table: Vec<Vec<String>> = Vec::new();
    for line in text.lines().chain(["## "]) {
        if let Some(kind) = &in_block {
            if !line.starts_with("```") {
                block += &format!("{line}\n");
                continue;
            }
            match kind.as_str() {
                "policy" => now.policy = Some(std::mem::take(&mut block)),
                "expect" => {
                    now.expected =
                        block.lines().map(str::trim).filter(|l| !l.is_empty()).map(String::from).collect()
                }
                _ => {}
            }
            (block, in_block) = (String::new(), None);
            continue;
        }
        if line.starts_with('|') {
            table.push(
                line.trim_matches('|').split('|').map(|c| c.trim().trim_matches('`').to_string()).collect(),
            );
            continue;
        }
        if !table.is_empty() {
            now.read(&std::mem::take(&mut table));
        }
        if let Some(kind) = line.strip_prefix("```") {
            in_block = Some(kind.trim().into());
        } else if let Some(title) = line.strip_prefix("## ") {
            let next = Section { title: title.into(), expected: Vec::new(), policy: None, ..now.clone() };
            let done = std::mem::replace(&mut now, next);
            if !done.expected.is_empty() {
                out.push(done);
            }
        }
    }
    out
}

impl Section {
    fn read(&mut self, table: &[Vec<String>]) {
        let head: Vec<&str> = table[0].iter().map(String::as_str).collect();
        let rows: Vec<BTreeMap<&str, &str>> = table[2..]
            .iter()
            .map(|r| head.iter().copied().zip(r.iter().map(String::as_str)).collect())
            .collect();
        let cell =
            |row: &BTreeMap<&str, &str>, name: &str| row.get(name).copied().unwrap_or_default().to_string();
        if head[0] == "user" {
            self.users = rows
                .iter()
                .zip(1..)
                .map(|(row, id)| user(id, &cell(row, "user"), &cell(row, "email"), &cell(row, "role")))
                .collect();
        } else {
            self.nodes = rows.iter().zip(1..).map(|(row, id)| self.node(id, row)).collect();
            self.elect();
        }
    }

    fn node(&self, id: u64, row: &BTreeMap<&str, &str>) -> NodeFacts {
        let owner = row["owner"];
        let owner = match self.users.iter().find(|u| u.name == owner) {
            Some(u) => Owner::User(u.id),
            None => Owner::Tags(owner.split(' ').map(String::from).collect()),
        };
        let v4 = format!("100.64.0.{id}").parse().expect("an address");
        let v6 = format!("fd7a:115c:a1e0::{id}").parse().expect("an address");
        let mut n = NodeFacts::new(NodeId::new(id).expect("an id"), owner, Some(v4), Some(v6));
        let routes = |name: &str| -> Vec<IpNet> {
            row.get(name).unwrap_or(&"").split_whitespace().map(|r| r.parse().expect("a route")).collect()
        };
        n.name = row["node"].into();
        n.advertised = routes("routes");
        n.approved = if row.contains_key("approved") { routes("approved") } else { n.advertised.clone() };
        n
    }

    fn elect(&mut self) {
        let served = |n: &NodeFacts, r: &IpNet| n.serves().any(|s| s == r);
        let all: Vec<IpNet> =
            self.nodes.iter().flat_map(|n| n.serves().copied()).filter(|r| !is_exit_route(r)).collect();
        for r in all {
            let winner = routes::elect(None, self.nodes.iter().filter(|n| served(n, &r)).map(|n| n.id));
            self.nodes.iter_mut().filter(|n| Some(n.id) == winner).for_each(|n| n.primary.push(r));
        }
    }

    fn engine(&self) -> Result<Engine, String> {
        let policy = match &self.policy {
            None => Policy::none(),
            Some(text) => Policy::parse(text, &settings()).map_err(|e| e.to_string())?,
        };
        Ok(Engine::new(Arc::new(policy), self.users.clone(), self.nodes.clone()))
    }

    fn check(&self, line: &str) -> Result<(), String> {
        if let Some(message) = line.strip_prefix("refused: ") {
            let text = self.policy.as_deref().unwrap_or_default();
            let error = Policy::parse(text, &settings()).err().ok_or("it is accepted")?.to_string();
            return contains(&error, message);
        }
        let e = self.engine()?;
        if let Some(message) = line.strip_prefix("warned: ") {
            let all: Vec<String> = e.policy().warnings().iter().map(|w| w.message.clone()).collect();
            return contains(&all.join("\n"), message);
        }
        if let Some(message) = line.strip_prefix("noted: ") {
            let all: Vec<String> =
                e.notes().iter().map(|n| format!("line {}: {}", n.line, n.message)).collect();
            return contains(&all.join("\n"), message);
        }
        if let Some(rest) = line.strip_prefix("tests fail: ") {
            let all: Vec<String> =
                e.run_tests().into_iter().map(|f| format!("line {}: {}", f.line, f.message)).collect();
            return contains(&all.join("\n"), rest);
        }
        if line == "tests pass" {
            let failures = e.run_tests();
            return if failures.is_empty() { Ok(()) } else { Err(format!("{failures:?}")) };
        }
        if let Some(rest) = line.strip_prefix("ssh ") {
            return self.check_ssh(&e, rest);
        }
        self.check_words(&e, line)
    }

    fn id(&self, name: &str) -> Result<NodeId, String> {
        self.nodes.iter().find(|n| n.name == name).map(|n| n.id).ok_or(format!("no node `{name}`"))
    }

    fn names(&self, ids: impl Iterator<Item = NodeId>) -> String {
        let name =
            |id: NodeId| self.nodes.iter().find(|n| n.id == id).map(|n| n.name.clone()).unwrap_or_default();
        let names: Vec<String> = ids.map(name).collect();
        if names.is_empty() { "nobody".into() } else { names.join(", ") }
    }

    fn check_words(&self, e: &Engine, line: &str) -> Result<(), String> {
        let (subject, rest) = line.split_once(' ').ok_or("too short")?;
        let (verb, object) = rest.split_once(' ').ok_or("too short")?;
        match verb {
            "sees" => same(&self.names(e.visible(self.id(subject)?)), object),
            "reaches" => {
                let (what, rule) = object.split_once(" by ").map_or((object, None), |(w, r)| (w, Some(r)));
                let x = explain(e, subject, what)?;
                let by = x.rule.map(|r| r.name).unwrap_or_default();
                match (x.allowed, rule) {
                    (false, _) => Err(x.reasons.join("; ")),
                    (true, Some(rule)) => same(&by, rule),
                    (true, None) => Ok(()),
                }
            }
            "misses" => {
                let (what, why) = object.split_once(": ").map_or((object, ""), |(w, r)| (w, r));
                let x = explain(e, subject, what)?;
                if x.allowed { Err(format!("{x:?}")) } else { contains(&x.reasons.join("; "), why) }
            }
            "filter:" => {
                let rule = |r: headsail_wire::filter::FilterRule| -> String {
                    let ports = r.dst_ports.iter().map(|d| match (d.ports.first, d.ports.last) {
                        (0, 65535) => format!("{}:*", d.ip),
                        (a, b) if a == b => format!("{}:{a}", d.ip),
                        (a, b) => format!("{}:{a}-{b}", d.ip),
                    });
                    let grants = r
                        .cap_grant
                        .iter()
                        .flat_map(|g| g.cap_map.keys().map(|k| format!("{} {k}", g.dsts.join(" "))));
                    let to: Vec<String> = ports.chain(grants).collect();
                    let proto: Vec<String> = r.ip_proto.iter().map(|p| format!(" proto {p}")).collect();
                    format!("{} > {}{}", r.src_ips.join(" "), to.join(" "), proto.concat())
                };
                let all: Vec<String> = e.filter(self.id(subject)?).into_iter().map(rule).collect();
                same(&if all.is_empty() { "nothing".into() } else { all.join("; ") }, object)
            }
            "gets" => {
                let (routes, from) = object.rsplit_once(" from ").ok_or("no `from`")?;
                let got: Vec<String> = e
                    .allowed_routes(self.id(subject)?, self.id(from)?)
                    .iter()
                    .map(IpNet::to_string)
                    .collect();
                same(&if got.is_empty() { "nothing".into() } else { got.join(" ") }, routes)
            }
            "may" => {
                let (not, route) = object.strip_prefix("not ").map_or((false, object), |o| (true, o));
                let route: IpNet = route.trim_start_matches("serve ").parse().map_err(|_| "not a route")?;
                same(&e.may_approve(self.id(subject)?, &route).to_string(), &(!not).to_string())
            }
            "has" => {
                let caps = e.self_caps(self.id(subject)?);
                let names: Vec<&str> = caps.keys().map(String::as_str).collect();
                same(&if names.is_empty() { "nothing".into() } else { names.join(", ") }, object)
            }
            "tells" => {
                let (peer, caps) = object.split_once(' ').ok_or("too short")?;
                let got = e.peer_caps(self.id(peer)?, self.id(subject)?);
                let names: Vec<&str> = got.keys().map(String::as_str).collect();
                same(&if names.is_empty() { "nothing".into() } else { names.join(", ") }, caps)
            }
            "owns" | "disowns" | "pool" => self.check_user(e, subject, verb, object),
            other => Err(format!("`{other}` is not a word of expectations")),
        }
    }

    fn check_user(&self, e: &Engine, name: &str, verb: &str, object: &str) -> Result<(), String> {
        let user = self.users.iter().find(|u| u.name == name).ok_or("no such user")?;
        if verb == "pool" {
            let pool = e.ip_pool(&Owner::User(user.id)).map_or("none".to_string(), |p| p.to_string());
            return same(&pool, object);
        }
        same(&e.owns_tag(user.id, object).to_string(), &(verb == "owns").to_string())
    }

    /// `A to B as ACCOUNT: accept | check PERIOD | refuse`
    fn check_ssh(&self, e: &Engine, rest: &str) -> Result<(), String> {
        let (who, expected) = rest.split_once(": ").ok_or("no `:`")?;
        let words: Vec<&str> = who.split(' ').collect();
        let [a, "to", b, "as", account] = words[..] else {
            return Err("write `A to B as ACCOUNT: …`".into());
        };
        let (a, b) = (self.id(a)?, self.id(b)?);
        let seconds = e.ssh_check_secs(a, b, account);
        let address = e.node(a).and_then(|n| n.v4).map(|v| v.to_string()).unwrap_or_default();
        let rules = e.ssh(b).map(|p| p.rules.clone()).unwrap_or_default();
        let mine = rules.iter().filter(|r| r.principals.iter().any(|p| p.node_ip == address));
        let mut let_in = mine.filter(|r| match r.ssh_users.get(account) {
            Some(local) => !local.is_empty(),
            None => r.ssh_users.contains_key("*"),
        });
        let first = let_in.next().and_then(|r| r.action.clone());
        let got = match (first, seconds) {
            (None, None) => "refuse".to_string(),
            (Some(a), None) if a.accept => "accept".into(),
            (Some(a), Some(s)) if !a.hold_and_delegate.is_empty() => format!("check {s}s"),
            (rule, check) => format!("the rule is {rule:?} and the check {check:?}"),
        };
        same(&got, expected)
    }
}

fn explain(e: &Engine, src: &str, what: &str) -> Result<headsail_policy::Explanation, String> {
    let (what, proto) = what.split_once('/').unwrap_or((what, ""));
    let (dst, port) = what.rsplit_once(':').ok_or("no port")?;
    e.explain(src, dst, port.parse().map_err(|_| "not a port")?, proto)
}

fn user(id: u64, name: &str, email: &str, role: &str) -> UserFacts {
    let role = match role {
        "owner" => Role::Owner,
        "admin" => Role::Admin,
        _ => Role::Member,
    };
    let id = UserId::new(id).expect("an id");
    UserFacts {
        id,
        name: name.into(),
        email: email.into(),
        provider_id: String::new(),
        display: String::new(),
        role,
    }
}

fn settings() -> Settings {
    Settings { domains: vec!["example.org".into()] }
}

fn same(got: &str, expected: &str) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("it is `{got}`")) }
}

fn contains(got: &str, part: &str) -> Result<(), String> {
    if got.contains(part) { Ok(()) } else { Err(format!("it is `{got}`")) }
}
