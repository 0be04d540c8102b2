//! Pages about pending logins and SSH sessions that an administrator approves.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use headsail_tailnet::model::ticket::TicketState;

use super::layout::{escape, page};
use crate::app::TailnetService;

/// The page at `/`, which says nothing to visitors.
pub const HOME: &str = "<!doctype html><html lang=en><title>Headsail</title><p>This is a Headsail server.";

/// `/register/{ticket}`: how to have the machine of a ticket approved.
pub async fn register(State(tailnet): State<Arc<TailnetService>>, Path(id): Path<String>) -> Response {
    let snapshot = tailnet.clerk.snapshot();
    let Some(ticket) = snapshot.ticket(&id) else {
        return page(
            StatusCode::NOT_FOUND,
            "This login no longer exists",
            "<p>It may have expired. Log in again on your machine.",
        );
    };
    let host = escape(&ticket.asking.hostinfo.hostname);
    match &ticket.state {
        TicketState::Waiting => {
            let command = escape(&format!("headsail auth register --auth-id {} --user USERNAME", ticket.id));
            let body = format!(
                "<p><b>{host}</b> wants to join. To approve it, an administrator runs this on the server:</p>\
                 <pre>{command}</pre><p>USERNAME is the user that will own the machine.</p>"
            );
            page(StatusCode::OK, "Machine registration", &body)
        }
        TicketState::Granted => {
            page(StatusCode::OK, "Welcome", &format!("<p><b>{host}</b> has joined. You may close this page."))
        }
        TicketState::Refused(why) => page(StatusCode::FORBIDDEN, "Denied", &format!("<p>{}", escape(why))),
    }
}

/// `/auth/{check}`: how to have an SSH session approved. The id of a ticket leads to its page.
pub async fn auth(State(tailnet): State<Arc<TailnetService>>, Path(id): Path<String>) -> Response {
    let snapshot = tailnet.clerk.snapshot();
    let Some(check) = snapshot.ssh_check(&id) else { return register(State(tailnet), Path(id)).await };
    let name = |node| snapshot.node(node).map_or_else(String::new, |n| escape(&n.name));
    let (src, dst, account) = (name(check.src), name(check.dst), escape(&check.account));
    match &check.state {
        TicketState::Waiting => {
            let command = escape(&format!("headsail auth approve --auth-id {}", check.id));
            let body = format!(
                "<p><b>{src}</b> wants to log in to <b>{dst}</b> as <b>{account}</b>. To approve it, an administrator \
                 runs this on the server:</p><pre>{command}</pre>"
            );
            page(StatusCode::OK, "SSH session", &body)
        }
        TicketState::Granted => {
            page(StatusCode::OK, "Approved", "<p>The session was approved. You may close this page.")
        }
        TicketState::Refused(why) => page(StatusCode::FORBIDDEN, "Denied", &format!("<p>{}", escape(why))),
    }
}
