//! Logins that a person decides, as web pages.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use headsail_tailnet::model::ticket::TicketState;

use super::layout::{escape, page};
use crate::app::TailnetService;

/// The page of a server that has nothing to show to strangers.
pub const HOME: &str = "<!doctype html><html lang=en><title>Headsail</title><p>This is a Headsail server.";

/// What to do so that the machine of this ticket comes in.
pub async fn register(State(tailnet): State<Arc<TailnetService>>, Path(id): Path<String>) -> Response {
    let snapshot = tailnet.clerk.snapshot();
    let Some(ticket) = snapshot.ticket(&id) else {
        return page(
            StatusCode::NOT_FOUND,
            "This login is gone",
            "<p>It may have timed out. Start it again on your machine.",
        );
    };
    let host = escape(&ticket.asking.hostinfo.hostname);
    match &ticket.state {
        TicketState::Waiting => {
            let command = escape(&format!("headsail auth register --auth-id {} --user USERNAME", ticket.id));
            let body = format!(
                "<p><b>{host}</b> asks to join. To let it in, an administrator runs this on the server:</p>\
                 <pre>{command}</pre><p>USERNAME is who the machine will belong to.</p>"
            );
            page(StatusCode::OK, "Machine registration", &body)
        }
        TicketState::Granted => {
            page(StatusCode::OK, "Welcome", &format!("<p><b>{host}</b> is in. You may close this page."))
        }
        TicketState::Refused(why) => page(StatusCode::FORBIDDEN, "Refused", &format!("<p>{}", escape(why))),
    }
}

/// What to do so that this SSH session is let in; ids of machines that want to join lead to their page.
pub async fn auth(State(tailnet): State<Arc<TailnetService>>, Path(id): Path<String>) -> Response {
    let snapshot = tailnet.clerk.snapshot();
    let Some(check) = snapshot.ssh_check(&id) else { return register(State(tailnet), Path(id)).await };
    let name = |node| snapshot.node(node).map_or_else(String::new, |n| escape(&n.name));
    let (src, dst, account) = (name(check.src), name(check.dst), escape(&check.account));
    match &check.state {
        TicketState::Waiting => {
            let command = escape(&format!("headsail auth approve --auth-id {}", check.id));
            let body = format!(
                "<p><b>{src}</b> wants to log in to <b>{dst}</b> as <b>{account}</b>. To let it in, an administrator runs \
                 this on the server:</p><pre>{command}</pre>"
            );
            page(StatusCode::OK, "SSH session", &body)
        }
        TicketState::Granted => {
            page(StatusCode::OK, "Allowed", "<p>The session was let in. You may close this page.")
        }
        TicketState::Refused(why) => page(StatusCode::FORBIDDEN, "Refused", &format!("<p>{}", escape(why))),
    }
}
