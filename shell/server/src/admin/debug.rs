//! `debug create-node`, for tests.

use std::sync::Arc;

use axum::Json;
use headsail_api::v1::debug::CreateDebugNodeRequest;
use headsail_api::v1::node::{Node, NodeResponse};
use headsail_api::{GO_ZERO_TIME, Problem};
use headsail_tailnet::command::Command;
use headsail_tailnet::model::ticket::{Asking, TICKET_PREFIX};
use headsail_wire::capver::CapVer;
use headsail_wire::hostinfo::Hostinfo;
use headsail_wire::keys::{MachineKey, NodeKey};

use super::nodes::prefixes;
use super::read::Read;
use super::{Admin, Answer, user_of, view};
use crate::system::random;

/// [`headsail_api::paths::DEBUG_CREATE_NODE`]: creates a pending registration of a fictitious machine under the
/// requested id.
pub async fn create_node(admin: Admin, Read(r): Read<CreateDebugNodeRequest>) -> Answer<NodeResponse> {
    let owner =
        r.user.ok_or_else(|| Problem::bad_request("`user` is missing: specify the owner of the node"))?;
    let t = admin.snapshot();
    let user = view::user(user_of(&t, &owner)?);
    let ticket = if r.key.starts_with(TICKET_PREFIX) { r.key } else { format!("{TICKET_PREFIX}{}", r.key) };
    let asking = Asking {
        machine_key: MachineKey::from_bytes(random::bytes()),
        node_key: NodeKey::from_bytes(random::bytes()),
        old_node_key: NodeKey::default(),
        hostinfo: Arc::new(Hostinfo {
            hostname: r.name.clone(),
            routable_ips: prefixes(&r.routes)?.into_iter().collect(),
            ..Hostinfo::default()
        }),
        cap: CapVer::FLOOR,
        ephemeral: false,
        expiry: None,
        source: None,
    };
    let node = Node {
        machine_key: asking.machine_key.to_string(),
        node_key: asking.node_key.to_string(),
        name: r.name,
        user: Some(user),
        // Unset times are Go's zero time here, and only here, in Headscale.
        last_seen: Some(GO_ZERO_TIME),
        expiry: Some(GO_ZERO_TIME),
        created_at: Some(GO_ZERO_TIME),
        available_routes: r.routes,
        ..Node::default()
    };
    admin.submit(Command::MakeTicket { ticket, asking: Box::new(asking) }).await?;
    Ok(Json(NodeResponse { node }))
}
