//! The policy engine as a filter of JSON lines: one question per line in, one answer per line out. `headsail debug
//! policy-eval` runs it, and recorded answers of the official service are compared with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use headsail_wire::filter::CapMap;
use headsail_wire::ids::{NodeId, UserId};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::engine::Engine;
use crate::engine::facts::{NodeFacts, Owner, Role, UserFacts};
use crate::engine::policy::Policy;
use crate::text::check::Settings;
use crate::text::net::is_exit_route;

#[derive(Deserialize)]
struct Question {
    policy: String,
    #[serde(default)]
    users: Vec<User>,
    #[serde(default)]
    nodes: Map<String, Value>,
    #[serde(default)]
    tailnet: Tailnet,
}

#[derive(Deserialize)]
struct User {
    id: u64,
    name: String,
    #[serde(default)]
    email: String,
    #[serde(default)]
    role: Option<Role>,
}

#[derive(Deserialize)]
struct Node {
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    user: String,
    ipv4: Option<std::net::Ipv4Addr>,
    ipv6: Option<std::net::Ipv6Addr>,
    #[serde(default)]
    routable_ips: Vec<IpNet>,
    #[serde(default)]
    approved_routes: Vec<IpNet>,
}

#[derive(Default, Deserialize)]
struct Tailnet {
    #[serde(default)]
    domains: Vec<String>,
    #[serde(default)]
    settings: TailnetSettings,
}

#[derive(Default, Deserialize)]
struct TailnetSettings {
    #[serde(default)]
    devices_auto_updates_on: bool,
}

/// Answers one question: what the policy means for every node, or why it is rejected.
///
/// The question is an object with `policy` (text), `users`, `nodes` (by name, in the order in which they registered:
/// ids follow that order, and the older of two equal routers wins an election) and `tailnet`. The answer is an object
/// with `nodes` or `error`.
pub fn answer(line: &str) -> String {
    match serde_json::from_str::<Question>(line)
        .map_err(|e| format!("not a question: {e}"))
        .and_then(evaluate)
    {
        Ok(nodes) => json!({ "nodes": nodes }).to_string(),
        Err(error) => json!({ "error": error }).to_string(),
    }
}

fn evaluate(q: Question) -> Result<Map<String, Value>, String> {
    let settings = Settings { domains: q.tailnet.domains };
    let policy = Policy::parse(&q.policy, &settings).map_err(|r| r.to_string())?;
    let users: Vec<UserFacts> = q.users.iter().filter_map(user_facts).collect();
    let mut names = BTreeMap::new();
    let mut nodes = Vec::new();
    for ((name, value), id) in q.nodes.into_iter().zip(1..) {
        let node: Node = serde_json::from_value(value).map_err(|e| format!("node `{name}`: {e}"))?;
        let id = NodeId::new(id).ok_or("too many nodes")?;
        names.insert(id, name.clone());
        nodes.push(node_facts(id, name, node, &users));
    }
    elect_all(&mut nodes);
    let engine = Engine::new(Arc::new(policy), users, nodes);
    let failures = engine.run_tests();
    if !failures.is_empty() {
        let lines = failures.iter().map(|f| format!("\n{f}"));
        return Err(format!("test(s) failed{}", lines.collect::<String>()));
    }
    let auto_update = q.tailnet.settings.devices_auto_updates_on;
    Ok(names
        .iter()
        .map(|(id, name)| (name.clone(), node_answer(&engine, *id, &names, auto_update)))
        .collect())
}

fn user_facts(u: &User) -> Option<UserFacts> {
    Some(UserFacts {
        id: UserId::new(u.id)?,
        name: u.name.clone(),
        email: u.email.clone(),
        provider_id: String::new(),
        display: String::new(),
        role: u.role.unwrap_or_default(),
    })
}

fn node_facts(id: NodeId, name: String, node: Node, users: &[UserFacts]) -> NodeFacts {
    let user = users.iter().find(|u| u.name == node.user).map(|u| u.id);
    let owner = match user {
        Some(id) if node.tags.is_empty() => Owner::User(id),
        _ => Owner::Tags(node.tags),
    };
    NodeFacts {
        advertised: node.routable_ips.clone(),
        approved: node.approved_routes,
        name,
        ..NodeFacts::new(id, owner, node.ipv4, node.ipv6)
    }
}

/// Elects a primary for every subnet route, as if all nodes had been there from the start.
fn elect_all(nodes: &mut [NodeFacts]) {
    let mut servers: BTreeMap<IpNet, Vec<NodeId>> = BTreeMap::new();
    for n in nodes.iter() {
        for r in n.serves().filter(|r| !is_exit_route(r)) {
            servers.entry(*r).or_default().push(n.id);
        }
    }
    for (route, servers) in servers {
        let primary = crate::answers::routes::elect(None, servers);
        nodes.iter_mut().filter(|n| Some(n.id) == primary).for_each(|n| n.primary.push(route));
    }
}

fn node_answer(engine: &Engine, id: NodeId, names: &BTreeMap<NodeId, String>, auto_update: bool) -> Value {
    let ssh = engine.ssh(id).map(|p| json!(p.rules)).unwrap_or_else(|| json!([]));
    let peers: Map<String, Value> = engine
        .visible(id)
        .filter_map(|p| Some((names.get(&p)?.clone(), peer_answer(engine, id, p))))
        .collect();
    let mut caps = json_caps(&engine.self_caps(id));
    for flag in ["https://tailscale.com/cap/file-sharing", "https://tailscale.com/cap/ssh"] {
        caps.insert(flag.into(), Value::Null);
    }
    caps.insert("default-auto-update".into(), json!([auto_update]));
    let advertised = engine.node(id).map(|f| f.advertised.clone()).unwrap_or_default();
    let can_approve: Map<String, Value> =
        advertised.iter().map(|r| (r.to_string(), engine.may_approve(id, r).into())).collect();
    json!({
        "rules": engine.filter(id),
        "ssh": ssh,
        "self": { "capmap": caps },
        "peers": peers,
        "can_approve": can_approve,
    })
}

fn peer_answer(engine: &Engine, viewer: NodeId, peer: NodeId) -> Value {
    let routes = engine.allowed_routes(viewer, peer);
    let addresses = engine.addresses(viewer, peer);
    let addresses = addresses.iter().map(|a| IpNet::from(*a).to_string());
    let allowed: Vec<String> = addresses.chain(routes.iter().map(IpNet::to_string)).collect();
    let primary: Vec<String> = routes.iter().filter(|r| !is_exit_route(r)).map(IpNet::to_string).collect();
    let mut answer = json!({ "allowed_ips": allowed, "primary": primary });
    let caps = engine.peer_caps(viewer, peer);
    if let (false, Value::Object(fields)) = (caps.is_empty(), &mut answer) {
        fields.insert("capmap".into(), Value::Object(json_caps(&caps)));
    }
    answer
}

fn json_caps(caps: &CapMap) -> Map<String, Value> {
    let value = |values: &Vec<_>| if values.is_empty() { Value::Null } else { json!(values) };
    caps.iter().map(|(name, values)| (name.clone(), value(values))).collect()
}
