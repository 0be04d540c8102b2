//! Pending logins and SSH checks, which wait for an administrator.

use axum::Json;
use headsail_api::v1::Empty;
use headsail_api::v1::auth::{AuthRegisterRequest, AuthRequest, ListPendingResponse, RegisterAuthResponse};
use headsail_api::v1::node::RegisterNodeQuery;
use headsail_api::{Problem, UserRef};
use headsail_tailnet::command::Command;
use headsail_tailnet::model::ticket::{TICKET_LEN, TICKET_PREFIX, Ticket, TicketState};
use headsail_tailnet::tailnet::Tailnet;

use super::error::Refusal;
use super::read::Read;
use super::{Admin, Answer, user_of, view};

/// [`headsail_api::paths::AUTH_REGISTER`]
pub async fn register(admin: Admin, Read(r): Read<AuthRegisterRequest>) -> Answer<RegisterAuthResponse> {
    admit(&admin, r.user, &r.auth_id).await
}

/// [`headsail_api::paths::NODE_REGISTER`]
pub async fn register_node(admin: Admin, Read(r): Read<RegisterNodeQuery>) -> Answer<RegisterAuthResponse> {
    admit(&admin, r.user, &r.key).await
}

/// [`headsail_api::paths::AUTH_APPROVE`]
pub async fn approve(admin: Admin, Read(r): Read<AuthRequest>) -> Answer<Empty> {
    let t = admin.snapshot();
    if let Some(check) = t.ssh_check(&r.auth_id) {
        admin.submit(Command::GrantSsh { check: check.id.clone() }).await?;
        return Ok(Json(Empty {}));
    }
    let ticket = ticket_of(&t, &r.auth_id)?;
    Err(Problem::bad_request(format!(
        "`{0}` is a pending registration, which needs an owner: use `auth register --auth-id {0} --user USER`",
        ticket.id
    ))
    .into())
}

/// [`headsail_api::paths::AUTH_REJECT`]
pub async fn reject(admin: Admin, Read(r): Read<AuthRequest>) -> Answer<Empty> {
    let t = admin.snapshot();
    if let Some(check) = t.ssh_check(&r.auth_id) {
        admin.submit(Command::RefuseSsh { check: check.id.clone() }).await?;
        return Ok(Json(Empty {}));
    }
    let ticket = ticket_of(&t, &r.auth_id)?.id.clone();
    admin.submit(Command::RefuseTicket { ticket }).await?;
    Ok(Json(Empty {}))
}

/// [`headsail_api::paths::AUTH_PENDING`]
pub async fn pending(admin: Admin) -> Answer<ListPendingResponse> {
    let t = admin.snapshot();
    let logins = t.tickets().filter(|k| k.state == TicketState::Waiting).map(|k| view::pending(&t, k));
    let sessions =
        t.ssh_checks().filter(|c| c.state == TicketState::Waiting).map(|c| view::pending_session(&t, c));
    let mut pending: Vec<_> = logins.chain(sessions).collect();
    pending.sort_by_key(|p| p.expires_at);
    Ok(Json(ListPendingResponse { pending }))
}

/// Approves a pending registration: the machine becomes a node of the user.
async fn admit(admin: &Admin, user: Option<UserRef>, id: &str) -> Answer<RegisterAuthResponse> {
    let user =
        user.ok_or_else(|| Problem::bad_request("`user` is missing: specify the owner of the node"))?;
    let t = admin.snapshot();
    let ticket = ticket_of(&t, id)?.clone();
    let user = user_of(&t, &user)?.id;
    let t = admin.submit(Command::GrantTicket { ticket: ticket.id.clone(), user }).await?;
    if let Some(TicketState::Refused(why)) = t.ticket(&ticket.id).map(|k| &k.state) {
        return Err(Problem::bad_request(why.clone()).into());
    }
    let node = t.node_by_key(&ticket.asking.node_key);
    let node = node.ok_or_else(|| Problem::not_found("the new node was deleted by another request"))?;
    Ok(Json(RegisterAuthResponse { node: view::node(&t, node), granted: view::granted(&t, node, &ticket) }))
}

/// The pending registration with an id. Accepts the ids of all Headscale versions: with and without `hskey-authreq-`,
/// and node and machine keys, which were the ids up to 0.22. A key that stands for several requests is refused: it does
/// not tell which of them the administrator has seen.
fn ticket_of<'a>(t: &'a Tailnet, id: &str) -> Result<&'a Ticket, Refusal> {
    let old_key = |k: &&std::sync::Arc<Ticket>| {
        let (node, machine) = (k.asking.node_key.to_string(), k.asking.machine_key.to_string());
        id == node || id == machine || node.strip_prefix("nodekey:") == Some(id)
    };
    let is_key = id.starts_with("nodekey:") || id.starts_with("mkey:") || id.len() == 64;
    let found = if id.strip_prefix(TICKET_PREFIX).is_some_and(|rest| rest.len() == TICKET_LEN) {
        t.ticket(id)
    } else if id.len() == TICKET_LEN {
        t.ticket(&format!("{TICKET_PREFIX}{id}"))
    } else if is_key {
        let pending: Vec<_> =
            t.tickets().filter(|k| k.state == TicketState::Waiting).filter(old_key).collect();
        if pending.len() > 1 || pending.iter().any(|k| k.replaces) {
            return Err(Problem::bad_request(format!(
                "the machine of `{id}` has made several requests: use the id of the one to approve, `{TICKET_PREFIX}…`"
            ))
            .into());
        }
        pending.into_iter().next().or_else(|| t.tickets().find(old_key))
    } else {
        return Err(Problem::bad_request(format!(
            "`{id}` is not a valid login id: ids are `{TICKET_PREFIX}` followed by {TICKET_LEN} characters"
        ))
        .into());
    };
    let missing =
        || Problem::not_found(format!("there is no pending login `{id}`; it may have expired: log in again"));
    Ok(found.ok_or_else(missing)?)
}
