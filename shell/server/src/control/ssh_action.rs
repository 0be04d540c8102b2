//! `GET /machine/ssh/action/{src}/to/{dst}`: a node asks what becomes of an SSH session to it (`action: check`).
//!
//! The first question is answered with a message for the user and a second URL; asking that one waits for a person.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::Query;
use axum::http::{Response, StatusCode, Uri};
use axum::response::IntoResponse;
use headsail_tailnet::command::Command;
use headsail_tailnet::decide::ssh_check::{standing_consent, waiting_check};
use headsail_tailnet::model::ticket::TicketState;
use headsail_wire::ids::NodeId;
use headsail_wire::keys::MachineKey;
use headsail_wire::ssh::SshAction;

use crate::app::App;
use crate::clock;
use crate::control::reply::{refuse, text};

/// Where the path of the question begins.
pub const PATH: &str = "/machine/ssh/action/";
/// A waiting question is answered at the latest then; the node asks again.
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 60);

struct Session {
    src: NodeId,
    dst: NodeId,
    account: String,
}

/// Answers a node's question.
pub async fn get(app: Arc<App>, machine: MachineKey, uri: &Uri) -> Response<Body> {
    let query: BTreeMap<String, String> = Query::try_from_uri(uri).map(|Query(q)| q).unwrap_or_default();
    let Some((src, dst)) = ids(uri.path()) else {
        return text(StatusCode::NOT_FOUND, "the path must read /machine/ssh/action/SOURCE/to/DESTINATION");
    };
    let snapshot = app.clerk.snapshot();
    let Some(node) = snapshot.node(dst) else {
        return text(StatusCode::NOT_FOUND, "there is no such destination");
    };
    if node.machine_key != machine {
        return text(StatusCode::UNAUTHORIZED, "only the destination may ask");
    }
    if snapshot.node(src).is_none() {
        return text(StatusCode::NOT_FOUND, "there is no such source");
    }
    let account = query.get("local_user").cloned().unwrap_or_default();
    let session = Session { src, dst, account };
    match query.get("auth_id") {
        Some(id) => match snapshot.ssh_check(id) {
            Some(check) if (check.src, check.dst) != (src, dst) => {
                text(StatusCode::UNAUTHORIZED, "this check is of another session")
            }
            Some(_) => wait(&app, id, session).await,
            None => delegate(&app, session).await,
        },
        None => delegate(&app, session).await,
    }
}

fn ids(path: &str) -> Option<(NodeId, NodeId)> {
    let (src, dst) = path.strip_prefix(PATH)?.split_once("/to/")?;
    Some((src.parse().ok()?, dst.parse().ok()?))
}

fn accept() -> Response<Body> {
    Json(SshAction {
        accept: true,
        allow_agent_forwarding: true,
        allow_local_port_forwarding: true,
        allow_remote_port_forwarding: true,
        ..SshAction::default()
    })
    .into_response()
}

/// Lets the session in if a person has allowed its like before; else says whom to ask, and where to wait.
async fn delegate(app: &App, session: Session) -> Response<Body> {
    let Session { src, dst, account } = session;
    let ask = Command::AskSsh { src, dst, account: account.clone() };
    let snapshot = match app.clerk.submit("machine", ask).await {
        Ok(snapshot) => snapshot,
        Err(failure) => return refuse(failure),
    };
    if standing_consent(&snapshot, src, dst, &account, clock::now()).is_some() {
        return accept();
    }
    let Some(check) = waiting_check(&snapshot, src, dst, &account) else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "the check was decided meanwhile; ask again");
    };
    let id = &check.id;
    let account: String = headsail_api::paths::encode(&account);
    Json(SshAction {
        message: format!(
            "# This session needs a check. An administrator allows it at {}\n# or with: headsail auth approve --auth-id {id}\n",
            app.check_url(id)
        ),
        hold_and_delegate: format!("https://unused{PATH}{src}/to/{dst}?auth_id={id}&local_user={account}"),
        ..SshAction::default()
    })
    .into_response()
}

/// Waits until a person has decided.
async fn wait(app: &App, id: &str, session: Session) -> Response<Body> {
    let mut snapshots = app.clerk.follow();
    let settled = async {
        loop {
            let state = snapshots.borrow_and_update().ssh_check(id).map(|c| c.state.clone());
            match state {
                Some(TicketState::Waiting) => {}
                settled => return settled,
            }
            if snapshots.changed().await.is_err() {
                return None;
            }
        }
    };
    match tokio::time::timeout(LONGEST_WAIT, settled).await {
        Ok(Some(TicketState::Granted)) => accept(),
        Ok(Some(TicketState::Refused(why))) => {
            Json(SshAction { message: format!("# {why}\n"), reject: true, ..SshAction::default() })
                .into_response()
        }
        Ok(Some(TicketState::Waiting)) | Ok(None) | Err(_) => delegate(app, session).await,
    }
}
