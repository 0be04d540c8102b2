//! The policy: shown, set, checked, previewed, explained.

use std::collections::BTreeMap;

use axum::Json;
use headsail_api::Problem;
use headsail_api::problem::Finding;
use headsail_api::v1::policy::{
    Access, CheckPolicyResponse, ExplainRequest, ExplainResponse, ExplainRule, PolicyRequest, PolicyResponse,
    PreviewNode, PreviewPolicyResponse,
};
use headsail_policy::{Engine, PortChange, Preview};
use headsail_tailnet::command::Command;
use headsail_tailnet::decide::policy::check as check_policy;
use headsail_tailnet::model::policy::PolicyRow;
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::ids::NodeId;

use super::error::{Refusal, finding};
use super::read::Read;
use super::{Admin, Answer, view};
use crate::config;
use crate::system::clock;

/// The answer if there is no policy to show.
pub(super) const NO_POLICY: &str = "no policy was set: every node may reach every other";

/// [`headsail_api::paths::POLICY_GET`]
pub async fn get(admin: Admin) -> Answer<PolicyResponse> {
    match admin.snapshot().policy() {
        Some(row) => Ok(Json(shown(row))),
        // Headscale's status, which its clients rely on.
        None => Err(Problem::new(500, NO_POLICY).into()),
    }
}

/// [`headsail_api::paths::POLICY_SET`]
pub async fn set(admin: Admin, Read(r): Read<PolicyRequest>) -> Answer<PolicyResponse> {
    if let config::Policy::File(path) = &admin.tailnet.policy {
        let file = path.as_ref().map_or("a file".to_owned(), |p| format!("`{}`", p.display()));
        return Err(Problem::bad_request(format!(
            "the policy is loaded from {file}: edit that, or set `policy.mode: database` to manage the policy here"
        ))
        .into());
    }
    let t = admin.submit(Command::SetPolicy { text: r.policy, kept: true }).await?;
    let row = t.policy().ok_or_else(|| Problem::internal("the policy was deleted by another request"))?;
    Ok(Json(shown(row)))
}

/// [`headsail_api::paths::POLICY_CHECK`]
pub async fn check(admin: Admin, Read(r): Read<PolicyRequest>) -> Answer<CheckPolicyResponse> {
    let t = admin.snapshot();
    let work = move || {
        let (row, _) = candidate(&t, &r.policy)?;
        Ok(Json(CheckPolicyResponse { warnings: warnings(&row) }))
    };
    admin.tailnet.checks.run(work).await
}

/// [`headsail_api::paths::POLICY_PREVIEW`]
pub async fn preview(admin: Admin, Read(r): Read<PolicyRequest>) -> Answer<PreviewPolicyResponse> {
    let t = admin.snapshot();
    let work = move || {
        let (row, engine) = candidate(&t, &r.policy)?;
        let preview = Preview::new(t.access().engine(), &engine);
        Ok(Json(PreviewPolicyResponse { nodes: preview_nodes(&t, &preview), warnings: warnings(&row) }))
    };
    admin.tailnet.checks.run(work).await
}

/// [`headsail_api::paths::POLICY_EXPLAIN`]
pub async fn explain(admin: Admin, Read(r): Read<ExplainRequest>) -> Answer<ExplainResponse> {
    let t = admin.snapshot();
    admin.tailnet.checks.run(move || explanation(&t, &r)).await
}

fn explanation(t: &Tailnet, r: &ExplainRequest) -> Answer<ExplainResponse> {
    let engine = if r.policy.is_empty() { t.access().engine().clone() } else { candidate(t, &r.policy)?.1 };
    let (destination, port) = target(&r.destination)?;
    let source = name_of(t, &r.source);
    let answer =
        engine.explain(&source, &name_of(t, destination), port, &r.proto).map_err(Problem::bad_request)?;
    let (because, missing) =
        if answer.allowed { (answer.reasons, Vec::new()) } else { (Vec::new(), answer.reasons) };
    Ok(Json(ExplainResponse {
        allowed: answer.allowed,
        source: answer.src,
        destination: answer.dst,
        rule: answer.rule.map(|rule| ExplainRule {
            text: rule.text,
            line: u32::try_from(rule.line).ok().filter(|l| *l > 0),
            location: rule.name,
        }),
        because,
        missing,
    }))
}

/// Parses `name:port`; an IPv6 address must be in brackets.
fn target(text: &str) -> Result<(&str, u16), Refusal> {
    let refusal = |why: String| {
        Problem::bad_request(format!(
            "{why}; ask about one port at a time, as in `server:22` or `[fd7a::1]:22`"
        ))
    };
    let (name, port) =
        text.rsplit_once(':').ok_or_else(|| refusal(format!("the destination `{text}` has no port")))?;
    let name = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    let number = port.parse().map_err(|_| refusal(format!("`{port}` in `{text}` is not a valid port")))?;
    Ok((name, number))
}

/// The name of the node with this id; any other text is returned unchanged.
fn name_of(t: &Tailnet, text: &str) -> String {
    let node = text.parse::<NodeId>().ok().and_then(|id| t.node(id));
    node.map_or(text.to_owned(), |n| n.name.clone())
}

fn candidate(t: &Tailnet, text: &str) -> Result<(PolicyRow, Engine), Refusal> {
    Ok(check_policy(t, text, clock::now(), true)?)
}

pub(super) fn shown(row: &PolicyRow) -> PolicyResponse {
    PolicyResponse {
        policy: row.text().to_owned(),
        updated_at: Some(row.updated).filter(|_| row.kept).and_then(view::time),
        warnings: warnings(row),
    }
}

pub(super) fn warnings(row: &PolicyRow) -> Vec<Finding> {
    row.policy.warnings().iter().map(finding).collect()
}

/// What each node gains and loses. The engine reports this by destination (what others can reach on a node), so ports
/// are regrouped by source.
fn preview_nodes(t: &Tailnet, preview: &Preview) -> Vec<PreviewNode> {
    let mut nodes: BTreeMap<NodeId, PreviewNode> = BTreeMap::new();
    let name = |id: &NodeId| t.node(*id).map_or_else(|| id.to_string(), |n| n.name.clone());
    let entry = |id: NodeId| PreviewNode { id: id.get(), name: name(&id), ..PreviewNode::default() };
    for changed in &preview.nodes {
        let node = nodes.entry(changed.id).or_insert_with(|| entry(changed.id));
        node.peers_gained = changed.peers_gained.iter().map(name).collect();
        node.peers_lost = changed.peers_lost.iter().map(name).collect();
        let reach = |change: &PortChange| Access {
            destination: match change.at.as_str() {
                "" => changed.name.clone(),
                behind => format!("{behind} through {}", changed.name),
            },
            ports: change.ports.clone(),
        };
        for gained in &changed.ports_gained {
            nodes.entry(gained.from).or_insert_with(|| entry(gained.from)).access_gained.push(reach(gained));
        }
        for lost in &changed.ports_lost {
            nodes.entry(lost.from).or_insert_with(|| entry(lost.from)).access_lost.push(reach(lost));
        }
    }
    nodes.into_values().collect()
}
