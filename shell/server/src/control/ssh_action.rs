//! `GET /machine/ssh/action/{src}/to/{dst}`: a node asks whether to accept an SSH session to it (`action: check`).
//!
//! The first request is answered with a message for the user and a second URL. A request for that one waits until the session
//! is approved or denied.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::Query;
use axum::http::{Response, StatusCode, Uri};
use axum::response::IntoResponse;
use headsail_tailnet::actor::Actor;
use headsail_tailnet::command::{Command, Rejection};
use headsail_tailnet::decide::ssh_check::{Verdict, standing_consent, verdict, waiting_check};
use headsail_wire::ids::NodeId;
use headsail_wire::keys::MachineKey;
use headsail_wire::ssh::{ACTION_PATH, SshAction};

use crate::app::TailnetService;
use crate::clerk::Failure;
use crate::control::reply::{refuse, text};
use crate::system::clock;

/// A request waits this long at most; the node then sends it again.
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 60);

struct Session {
    src: NodeId,
    dst: NodeId,
    account: String,
}

pub async fn get(tailnet: Arc<TailnetService>, machine: MachineKey, uri: &Uri) -> Response<Body> {
    let query: BTreeMap<String, String> = Query::try_from_uri(uri).map(|Query(q)| q).unwrap_or_default();
    let Some((src, dst)) = ids(uri.path()) else {
        return text(StatusCode::NOT_FOUND, "the path must be /machine/ssh/action/SOURCE/to/DESTINATION");
    };
    let snapshot = tailnet.clerk.snapshot();
    let Some(node) = snapshot.node(dst) else {
        return text(StatusCode::NOT_FOUND, "the destination node does not exist");
    };
    if node.machine_key != machine {
        return text(StatusCode::UNAUTHORIZED, "only the destination node may send this request");
    }
    if node.expiry.is_past() {
        return refuse(Failure::Rejected(Rejection::KeyExpired));
    }
    match snapshot.node(src) {
        None => return text(StatusCode::NOT_FOUND, "the source node does not exist"),
        Some(source) if source.expiry.is_past() => {
            return reject("the login of the source node has expired; log in there again");
        }
        Some(_) => {}
    }
    let account = query.get("local_user").cloned().unwrap_or_default();
    let session = Session { src, dst, account };
    match query.get("auth_id") {
        Some(id) => match snapshot.ssh_check(id) {
            Some(check) if (check.src, check.dst, &check.account) != (src, dst, &session.account) => {
                text(StatusCode::UNAUTHORIZED, "this check belongs to another session")
            }
            Some(_) => wait(&tailnet, id, session).await,
            None => delegate(&tailnet, session).await,
        },
        None => delegate(&tailnet, session).await,
    }
}

fn ids(path: &str) -> Option<(NodeId, NodeId)> {
    let (src, dst) = path.strip_prefix(ACTION_PATH)?.split_once("/to/")?;
    Some((src.parse().ok()?, dst.parse().ok()?))
}

fn accept() -> Response<Body> {
    Json(SshAction::accept()).into_response()
}

/// Accepts the session if one like it was approved before; otherwise says how to have it approved, and where to wait.
async fn delegate(tailnet: &TailnetService, session: Session) -> Response<Body> {
    let Session { src, dst, account } = session;
    let ask = Command::AskSsh { src, dst, account: account.clone() };
    let snapshot = match tailnet.clerk.submit(Actor::Node(session.dst), ask).await {
        Ok(snapshot) => snapshot,
        Err(Failure::Rejected(rejection @ Rejection::Invalid(_))) => return reject(&rejection.text()),
        Err(failure) => return refuse(failure),
    };
    if standing_consent(&snapshot, src, dst, &account, clock::now()).is_some() {
        return accept();
    }
    let Some(check) = waiting_check(&snapshot, src, dst, &account) else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "the check was settled in the meantime; try again");
    };
    let id = &check.id;
    let account: String = headsail_api::paths::encode(&account);
    let message = format!(
        "# This session has to be approved. An administrator can do so at {}\n# or with: headsail auth approve --auth-id {id}\n",
        tailnet.check_url(id)
    );
    let which = format!("{src}/to/{dst}?auth_id={id}&local_user={account}");
    Json(SshAction::ask(message, &which)).into_response()
}

/// Rejects the session. The status is 200 all the same: on any other, clients retry for half an hour.
fn reject(why: &str) -> Response<Body> {
    Json(SshAction::reject(format!("# {why}\n"))).into_response()
}

/// Waits until the session is approved or denied, or the policy no longer asks for that.
async fn wait(tailnet: &TailnetService, id: &str, session: Session) -> Response<Body> {
    let mut snapshots = tailnet.clerk.follow();
    let settled = async {
        loop {
            match verdict(
                snapshots.borrow_and_update().tailnet(),
                id,
                session.src,
                session.dst,
                &session.account,
            ) {
                Verdict::Waiting => {}
                settled => return settled,
            }
            if snapshots.changed().await.is_err() {
                return Verdict::Unknown;
            }
        }
    };
    match tokio::time::timeout(LONGEST_WAIT, settled).await {
        Ok(Verdict::Granted) => accept(),
        Ok(Verdict::Refused(why)) => reject(&why),
        Ok(Verdict::Waiting | Verdict::Unknown) | Err(_) => delegate(tailnet, session).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headsail_wire::ssh::NOISE_BASE_URL;
    use serde_json::{Value, json};

    use crate::testing::{keys, let_in, read, submit, tailnet, user};

    async fn policy(tailnet: &TailnetService, action: &str, users: &str) {
        let text = format!(
            r#"{{"acls": [{{"action": "accept", "src": ["*"], "dst": ["*:*"]}}], "ssh": [{{"action": "{action}",
                "src": ["autogroup:member"], "dst": ["autogroup:self"], "users": [{users}]}}]}}"#
        );
        submit(tailnet, Command::SetPolicy { text, kept: true }).await;
    }

    /// A tailnet with two nodes, and the path with which the second asks about a session for an account.
    async fn two_nodes() -> (Arc<TailnetService>, impl Fn(&str) -> String) {
        let tailnet = tailnet();
        let alice = user(&tailnet, "alice").await;
        let (src, dst) = (let_in(&tailnet, 1, alice).await.0.id, let_in(&tailnet, 2, alice).await.0.id);
        policy(&tailnet, "check", r#""root", "alice""#).await;
        (tailnet, move |account: &str| format!("{ACTION_PATH}{src}/to/{dst}?local_user={account}"))
    }

    async fn ask(tailnet: &Arc<TailnetService>, path: &str) -> Response<Body> {
        get(tailnet.clone(), keys(2).0, &path.parse().unwrap()).await
    }

    /// The path to wait at, of a check that was approved.
    async fn granted(tailnet: &Arc<TailnetService>, path: &str) -> String {
        let response = read(ask(tailnet, path).await).await;
        let hold =
            response["holdAndDelegate"].as_str().unwrap().trim_start_matches(NOISE_BASE_URL).to_owned();
        let check = tailnet.clerk.snapshot().ssh_checks().next().unwrap().id.clone();
        submit(tailnet, Command::GrantSsh { check }).await;
        hold
    }

    fn accepts(response: &Value) -> bool {
        response["accept"] == json!(true)
    }

    #[tokio::test]
    async fn an_approval_for_one_account_is_not_valid_for_another() {
        let (tailnet, path) = two_nodes().await;
        let hold = granted(&tailnet, &path("alice")).await;
        assert!(accepts(&read(ask(&tailnet, &hold).await).await));
        let other = hold.replace("local_user=alice", "local_user=root");
        assert_eq!(ask(&tailnet, &other).await.status(), StatusCode::UNAUTHORIZED);
        assert!(!accepts(&read(ask(&tailnet, &path("root")).await).await));
    }

    #[tokio::test]
    async fn an_approval_does_not_override_the_policy() {
        let (tailnet, path) = two_nodes().await;
        let hold = granted(&tailnet, &path("alice")).await;
        policy(&tailnet, "check", r#""root""#).await;
        for url in [hold, path("alice")] {
            let response = read(ask(&tailnet, &url).await).await;
            assert!(!accepts(&response) && response["reject"] == json!(true), "{url}: {response}");
        }
    }

    #[tokio::test]
    async fn a_waiting_session_is_rejected_when_its_rule_is_deleted() {
        let (tailnet, path) = two_nodes().await;
        let response = read(ask(&tailnet, &path("alice")).await).await;
        let hold =
            response["holdAndDelegate"].as_str().unwrap().trim_start_matches(NOISE_BASE_URL).to_owned();
        let (answer, ()) = tokio::join!(ask(&tailnet, &hold), policy(&tailnet, "check", r#""root""#));
        assert_eq!(read(answer).await["reject"], true);
    }
}
