//! Routes with ids, as in Headscale before 0.26.
//!
//! The id of a route is computed, not stored: the id of the node, then four digits from a hash of the prefix. It does
//! not depend on the other routes of the node, unless two of its prefixes have the same hash.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::Path;
use headsail_api::Problem;
use headsail_api::v1::Empty;
use headsail_api::v1::route::{ListRoutesResponse, Route};
use headsail_tailnet::command::Command;
use headsail_tailnet::model::node::Node;
use headsail_tailnet::tailnet::Tailnet;
use headsail_tailnet::view::served_routes;
use headsail_wire::ids::NodeId;
use ipnet::IpNet;
use sha2::{Digest, Sha256};

use super::error::Refusal;
use super::{Admin, Answer, nodes, read, view};

/// How many route ids each node has.
const SLOTS: u64 = 10_000;

/// [`headsail_api::paths::ROUTE_LIST`]
pub async fn list(admin: Admin) -> Answer<ListRoutesResponse> {
    let t = admin.snapshot();
    Ok(Json(ListRoutesResponse { routes: t.nodes().flat_map(|n| of(&t, n)).collect() }))
}

/// [`headsail_api::paths::NODE_ROUTES`]
pub async fn of_node(admin: Admin, Path(id): Path<String>) -> Answer<ListRoutesResponse> {
    let t = admin.snapshot();
    let id = nodes::named(&id)?;
    let node = t.node(id).ok_or_else(|| Problem::not_found(format!("there is no node with id `{id}`")))?;
    Ok(Json(ListRoutesResponse { routes: of(&t, node) }))
}

/// [`headsail_api::paths::ROUTE_ENABLE`]
pub async fn enable(admin: Admin, Path(id): Path<String>) -> Answer<Empty> {
    let (node, prefix) = find(&admin.snapshot(), &id)?;
    let (approve, withdraw) = ([prefix].into(), BTreeSet::new());
    admin.submit(Command::EditRoutes { node: node.id, approve, withdraw }).await?;
    Ok(Json(Empty {}))
}

/// [`headsail_api::paths::ROUTE_DISABLE`] and [`headsail_api::paths::ROUTE_DELETE`]: a route that the node still
/// advertises stays listed, any other disappears with its approval.
pub async fn disable(admin: Admin, Path(id): Path<String>) -> Answer<Empty> {
    let (node, prefix) = find(&admin.snapshot(), &id)?;
    let (approve, withdraw) = (BTreeSet::new(), [prefix].into());
    admin.submit(Command::EditRoutes { node: node.id, approve, withdraw }).await?;
    Ok(Json(Empty {}))
}

/// Whether this is the route of an exit node.
fn is_default(prefix: &IpNet) -> bool {
    prefix.prefix_len() == 0
}

/// The routes of a node by id: those that it advertises and those that are approved.
fn numbered(node: &Node) -> BTreeMap<u64, IpNet> {
    let prefixes: BTreeSet<IpNet> =
        node.advertised_routes().iter().chain(&node.approved_routes).copied().collect();
    let mut by_number = BTreeMap::new();
    for prefix in prefixes.into_iter().take(SLOTS as usize) {
        let digest = Sha256::digest(prefix.to_string().as_bytes());
        let first = digest.iter().take(4).fold(0u64, |n, byte| n << 8 | u64::from(*byte)) % SLOTS;
        let free = (0..SLOTS)
            .map(|step| (first + step) % SLOTS)
            .find(|slot| !by_number.contains_key(&number(node.id, *slot)));
        if let Some(slot) = free {
            by_number.insert(number(node.id, slot), prefix);
        }
    }
    by_number
}

fn number(node: NodeId, slot: u64) -> u64 {
    node.get().saturating_mul(SLOTS).saturating_add(slot)
}

fn of(t: &Tailnet, node: &Node) -> Vec<Route> {
    let live = served_routes(t, node);
    let numbered = numbered(node);
    let shown = (!numbered.is_empty()).then(|| view::node(t, node));
    let route = |(id, prefix): (u64, IpNet)| Route {
        id,
        node: shown.clone(),
        prefix: prefix.to_string(),
        advertised: node.advertised_routes().contains(&prefix),
        enabled: node.approved_routes.contains(&prefix),
        is_primary: live.contains(&prefix) && !is_default(&prefix),
    };
    numbered.into_iter().map(route).collect()
}

/// The node and the prefix of the route with this id.
fn find(t: &Tailnet, id: &str) -> Result<(Arc<Node>, IpNet), Refusal> {
    let number = read::id(id, Some)?.unwrap_or_default();
    let node = NodeId::new(number / SLOTS).and_then(|id| t.node(id));
    let found = node.and_then(|node| Some((node.clone(), *numbered(node).get(&number)?)));
    found.ok_or_else(|| Problem::not_found(format!("there is no route with id `{id}`")).into())
}
