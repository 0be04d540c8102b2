//! Nodes.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::Path;
use headsail_api::Problem;
use headsail_api::problem::Finding;
use headsail_api::v1::Empty;
use headsail_api::v1::node::{
    ApproveRoutesRequest, BackfillQuery, BackfillResponse, ExpireNodeRequest, ListNodesQuery,
    ListNodesResponse, NodeResponse, SetTagsRequest,
};
use headsail_tailnet::command::Command;
use headsail_tailnet::model::node::Node;
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::ids::NodeId;
use ipnet::IpNet;

use super::error::Refusal;
use super::read::{self, Read};
use super::{Admin, Answer, user_of, view};
use crate::system::clock;

/// [`headsail_api::paths::NODE_LIST`]
pub async fn list(admin: Admin, Read(query): Read<ListNodesQuery>) -> Answer<ListNodesResponse> {
    let t = admin.snapshot();
    let owner = query.user.map(|u| user_of(&t, &u).map(|u| u.id)).transpose()?;
    let nodes = t.nodes().filter(|n| owner.is_none() || n.owner.user() == owner);
    Ok(Json(ListNodesResponse { nodes: nodes.map(|n| view::node(&t, n)).collect() }))
}

/// [`headsail_api::paths::NODE_GET`]
pub async fn get(admin: Admin, Path(id): Path<String>) -> Answer<NodeResponse> {
    shown(&admin.snapshot(), named(&id)?)
}

/// [`headsail_api::paths::NODE_DELETE`]
pub async fn delete(admin: Admin, Path(id): Path<String>) -> Answer<Empty> {
    admin.submit(Command::DeleteNode(named(&id)?)).await?;
    Ok(Json(Empty {}))
}

/// [`headsail_api::paths::NODE_EXPIRE`]
pub async fn expire(
    admin: Admin,
    Path(id): Path<String>,
    Read(r): Read<ExpireNodeRequest>,
) -> Answer<NodeResponse> {
    let node = named(&id)?;
    let at = match (r.expiry, r.disable_expiry) {
        (Some(_), true) => {
            return Err(Problem::bad_request(
                "`expiry` and `disableExpiry` are mutually exclusive; send only one of them",
            )
            .into());
        }
        (None, true) => None,
        (Some(at), false) => Some(view::from_time(at)),
        (None, false) => Some(clock::now()),
    };
    shown(&*admin.submit(Command::ExpireNode { node, at }).await?, node)
}

/// [`headsail_api::paths::NODE_RENAME`]
pub async fn rename(admin: Admin, Path((id, name)): Path<(String, String)>) -> Answer<NodeResponse> {
    let node = named(&id)?;
    shown(&*admin.submit(Command::RenameNode { node, name }).await?, node)
}

/// [`headsail_api::paths::NODE_TAGS`]
pub async fn tags(
    admin: Admin,
    Path(id): Path<String>,
    Read(r): Read<SetTagsRequest>,
) -> Answer<NodeResponse> {
    let node = named(&id)?;
    let tags = r.tags.into_iter().collect();
    shown(&*admin.submit(Command::TagNode { node, tags }).await?, node)
}

/// [`headsail_api::paths::NODE_APPROVE_ROUTES`]
pub async fn approve_routes(
    admin: Admin,
    Path(id): Path<String>,
    Read(r): Read<ApproveRoutesRequest>,
) -> Answer<NodeResponse> {
    let node = named(&id)?;
    let routes = prefixes(&r.routes)?;
    shown(&*admin.submit(Command::ApproveRoutes { node, routes }).await?, node)
}

/// [`headsail_api::paths::NODE_BACKFILL`]
pub async fn backfill(admin: Admin, Read(r): Read<BackfillQuery>) -> Answer<BackfillResponse> {
    if !r.confirmed {
        return Err(Problem::bad_request(
            "this may remove addresses from nodes: confirm with `confirmed=true`",
        )
        .into());
    }
    let before = admin.snapshot();
    let after = admin.submit(Command::BackfillIps).await?;
    Ok(Json(BackfillResponse { changes: moves(&before, &after) }))
}

/// Parses the node id in a path.
pub fn named(id: &str) -> Result<NodeId, Refusal> {
    let known = read::id(id, NodeId::new)?;
    known.ok_or_else(|| Problem::not_found(format!("there is no node with id `{id}`")).into())
}

/// The response with a node of a snapshot.
pub fn shown(t: &Tailnet, id: NodeId) -> Answer<NodeResponse> {
    let node = t.node(id).ok_or_else(|| Problem::not_found(format!("there is no node with id `{id}`")))?;
    Ok(Json(NodeResponse { node: view::node(t, node) }))
}

/// Parses prefixes; the error lists all that are invalid.
pub(super) fn prefixes(texts: &[String]) -> Result<BTreeSet<IpNet>, Refusal> {
    let finding = |(n, text): (usize, &String)| Finding {
        message: format!("`{text}` is not a valid prefix; write it as `10.0.0.0/8` or `fd00::/64`"),
        location: format!("body.routes[{n}]"),
        value: text.clone(),
        ..Finding::default()
    };
    let wrong = |text: &str| text.parse::<IpNet>().is_err();
    let findings: Vec<Finding> =
        texts.iter().enumerate().filter(|(_, text)| wrong(text)).map(finding).collect();
    match findings.first() {
        None => Ok(texts.iter().filter_map(|text| text.parse().ok()).collect()),
        Some(first) => Err(Problem::bad_request(first.message.clone()).with_errors(findings).into()),
    }
}

/// One line for each address that a node gained or lost.
fn moves(before: &Tailnet, after: &Tailnet) -> Vec<String> {
    let lost = |from: &Arc<Node>, to: &Arc<Node>, verb: &str| {
        let others: Vec<_> = to.ips().collect();
        let differing = from.ips().filter(|ip| !others.contains(ip));
        differing.map(|ip| format!("node {} ({}) {verb} {ip}", to.id, to.name)).collect::<Vec<_>>()
    };
    let both = after.nodes().filter_map(|new| Some((before.node(new.id)?, new)));
    both.flat_map(|(old, new)| [lost(old, new, "lost"), lost(new, old, "gained")].concat()).collect()
}
