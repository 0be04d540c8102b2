//! Road 3: `POST /machine/register`: registers a machine, or waits for a pending registration.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use headsail_tailnet::actor::Actor;
use headsail_tailnet::command::{Command, Registration, ShownKey};
use headsail_tailnet::decide::login::same_host;
use headsail_tailnet::model::node::Node;
use headsail_tailnet::model::ticket::{Ticket, TicketState};
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::json;
use headsail_wire::keys::{MachineKey, NodeKey};
use headsail_wire::register::{RegisterLogin, RegisterRequest, RegisterResponse, RegisterUser};

use crate::app::TailnetService;
use crate::control::inner::Caller;
use crate::control::reply::{refuse_registration, text};

/// A follow-up waits this long at most; the client then sends it again.
const LONGEST_WAIT: Duration = Duration::from_secs(20 * 60);

pub async fn post(tailnet: Arc<TailnetService>, caller: &Caller, body: &[u8]) -> Response<Body> {
    let machine = caller.machine;
    let request: RegisterRequest = match json::decode(body) {
        Ok(request) => request,
        Err(error) => {
            return text(StatusCode::BAD_REQUEST, format!("invalid registration: {error}"));
        }
    };
    let followup = request.followup.clone();
    let node_key = request.node_key;
    if !followup.is_empty()
        && request.version.is_supported()
        && let Some(ticket) = rightful_ticket(&tailnet, &followup, &machine, &node_key)
        && !asks_for_more(&ticket, &request)
    {
        match wait(&tailnet, &ticket).await {
            Settled::Granted => {
                let snapshot = tailnet.clerk.snapshot();
                // By the time a late follow-up arrives, the node may have been deleted: that takes another login.
                if own_node(&snapshot, &machine, &node_key).is_some() {
                    return answer(&tailnet, &snapshot, &machine, &node_key);
                }
            }
            Settled::Refused(why) => return respond(RegisterResponse::refused(why)),
            Settled::Lapsed => {}
        }
    }
    register(&tailnet, caller, request).await
}

/// Whether a follow-up asks for something else than its pending login, which takes a login of its own. A follow-up of an
/// official client repeats the host, but not whether the node is ephemeral.
fn asks_for_more(ticket: &Ticket, request: &RegisterRequest) -> bool {
    let told = request.hostinfo.as_ref();
    ticket.state == TicketState::Waiting && told.is_some_and(|told| !same_host(ticket, told))
}

async fn register(tailnet: &TailnetService, caller: &Caller, request: RegisterRequest) -> Response<Body> {
    let machine = caller.machine;
    let node_key = request.node_key;
    let logs_out = request.expiry.is_some_and(|at| at <= crate::system::clock::now());
    let registration = Registration {
        machine_key: machine,
        cap: request.version,
        node_key,
        old_node_key: request.old_node_key,
        auth_key: request.auth.map_or(ShownKey::None, |auth| ShownKey::of(&auth.auth_key)),
        expiry: request.expiry,
        // A missing Hostinfo says as little as an empty one.
        hostinfo: request.hostinfo.unwrap_or_default(),
        ephemeral: request.ephemeral,
        source: caller.source,
    };
    match tailnet.clerk.submit(Actor::Machine(machine), Command::Register(Box::new(registration))).await {
        Ok(_) if logs_out => respond(RegisterResponse::key_expired()),
        Ok(snapshot) => answer(tailnet, &snapshot, &machine, &node_key),
        Err(failure) => refuse_registration(failure),
    }
}

fn own_node<'a>(t: &'a Tailnet, machine: &MachineKey, node_key: &NodeKey) -> Option<&'a Arc<Node>> {
    t.node_by_key(node_key).filter(|n| n.machine_key == *machine)
}

/// The answer to a registration according to a snapshot: the machine is authorised, its key has expired, or its user has to
/// visit a page.
fn answer(
    tailnet: &TailnetService,
    snapshot: &Tailnet,
    machine: &MachineKey,
    node_key: &NodeKey,
) -> Response<Body> {
    if let Some(node) = own_node(snapshot, machine, node_key) {
        if node.expiry.is_past() {
            return respond(RegisterResponse::key_expired());
        }
        let profile = snapshot.profile(&node.owner);
        let user = RegisterUser {
            id: profile.id.get(),
            display_name: profile.display_name.clone(),
            profile_pic_url: profile.profile_pic_url.clone(),
        };
        let login = RegisterLogin {
            id: profile.id.get(),
            provider: String::new(),
            login_name: profile.login_name,
            display_name: profile.display_name,
            profile_pic_url: profile.profile_pic_url,
        };
        return respond(RegisterResponse::success(user, login));
    }
    let ticket = snapshot.tickets().find(|t| {
        t.state == TicketState::Waiting && t.asking.machine_key == *machine && t.asking.node_key == *node_key
    });
    match ticket {
        Some(ticket) => respond(RegisterResponse::visit(tailnet.register_url(&ticket.id))),
        None => respond(RegisterResponse::refused("this login no longer exists; log in again")),
    }
}

/// The ticket of an AuthURL, if it belongs to this machine and this key.
fn rightful_ticket(
    tailnet: &TailnetService,
    url: &str,
    machine: &MachineKey,
    node_key: &NodeKey,
) -> Option<Arc<Ticket>> {
    let id = url.rsplit('/').next()?;
    let ticket = tailnet.clerk.snapshot().ticket(id)?.clone();
    (ticket.asking.machine_key == *machine && ticket.asking.node_key == *node_key).then_some(ticket)
}

enum Settled {
    Granted,
    Refused(String),
    Lapsed,
}

/// Waits until the registration is approved or denied, or no longer exists.
async fn wait(tailnet: &TailnetService, ticket: &Ticket) -> Settled {
    let mut snapshots = tailnet.clerk.follow();
    let settled = async {
        loop {
            let state = snapshots.borrow_and_update().tailnet().ticket(&ticket.id).map(|t| t.state.clone());
            match state {
                Some(TicketState::Waiting) => {}
                Some(TicketState::Granted) => return Settled::Granted,
                Some(TicketState::Refused(why)) => return Settled::Refused(why),
                None => return Settled::Lapsed,
            }
            if snapshots.changed().await.is_err() {
                return Settled::Lapsed;
            }
        }
    };
    tokio::time::timeout(LONGEST_WAIT, settled).await.unwrap_or(Settled::Lapsed)
}

fn respond(response: RegisterResponse) -> Response<Body> {
    Json(response).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    use crate::system::clock;
    use crate::testing::{let_in, registers, submit, tailnet, user};

    #[tokio::test]
    async fn a_late_followup_is_answered_from_the_current_snapshot() {
        let tailnet = tailnet();
        let alice = user(&tailnet, "alice").await;
        let (node, url) = let_in(&tailnet, 1, alice).await;
        let followup = json!({ "Followup": url });
        let response = registers(&tailnet, 1, followup.clone()).await;
        assert_eq!(
            (&response["MachineAuthorized"], &response["NodeKeyExpired"]),
            (&json!(true), &json!(false))
        );

        submit(&tailnet, Command::ExpireNode { node: node.id, at: Some(clock::now()) }).await;
        let response = registers(&tailnet, 1, followup.clone()).await;
        assert_eq!(
            (&response["NodeKeyExpired"], &response["MachineAuthorized"]),
            (&json!(true), &json!(false))
        );

        submit(&tailnet, Command::DeleteNode(node.id)).await;
        let response = registers(&tailnet, 1, followup).await;
        assert_eq!(response["Error"], "", "{response}");
        let other = response["AuthURL"].as_str().unwrap();
        assert!(!other.is_empty() && other != url, "the client gets another login to wait for: {response}");
    }

    #[tokio::test]
    async fn a_followup_that_asks_for_more_gets_another_login() {
        let tailnet = tailnet();
        let url = |response: &serde_json::Value| response["AuthURL"].as_str().unwrap().to_owned();
        let first = url(&registers(&tailnet, 1, json!({ "Hostinfo": { "Hostname": "web" } })).await);
        let host = json!({ "Hostname": "web", "RequestTags": ["tag:admin"] });
        let second = url(&registers(&tailnet, 1, json!({ "Followup": first, "Hostinfo": host })).await);
        assert!(!second.is_empty() && first != second);
        let t = tailnet.clerk.snapshot();
        let ids: Vec<_> = t.tickets().map(|k| tailnet.register_url(&k.id)).collect();
        assert_eq!(ids, [second.as_str()], "the first login gave way");
        let again = registers(&tailnet, 1, json!({ "Ephemeral": false, "Hostinfo": host })).await;
        assert_eq!(url(&again), second, "the same request keeps its login");
    }

    #[tokio::test]
    async fn a_registration_without_hostinfo_keeps_the_known_one() {
        let tailnet = tailnet();
        let alice = user(&tailnet, "alice").await;
        let (before, _) = let_in(&tailnet, 1, alice).await;
        for silent in [json!({}), json!({ "Hostinfo": null }), json!({ "Hostinfo": {} })] {
            assert_eq!(registers(&tailnet, 1, silent).await["MachineAuthorized"], true);
            assert_eq!(tailnet.clerk.snapshot().node(before.id), Some(&before));
        }
    }
}
