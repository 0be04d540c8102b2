//! Pages about pending logins and SSH sessions that an administrator approves.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use headsail_tailnet::model::ticket::{Asking, TicketState};
use headsail_wire::text::steers;

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
    let host = escape(&plain(&ticket.asking.hostinfo.hostname));
    match &ticket.state {
        TicketState::Waiting => {
            let command = escape(&format!("headsail auth register --auth-id {} --user USERNAME", ticket.id));
            let body = format!(
                "<p><b>{host}</b> wants to join. To approve it, an administrator runs this on the server:</p>\
                 <pre>{command}</pre><p>USERNAME is the user that will own the machine.</p>{}",
                request(&ticket.asking)
            );
            page(StatusCode::OK, "Machine registration", &body)
        }
        TicketState::Granted => {
            page(StatusCode::OK, "Welcome", &format!("<p><b>{host}</b> has joined. You may close this page."))
        }
        TicketState::Refused(why) => page(StatusCode::FORBIDDEN, "Denied", &format!("<p>{}", escape(why))),
    }
}

/// The text without characters that control how text is shown: with them, a page could show something else than is granted.
fn plain(text: &str) -> String {
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

/// What a machine asks for, as a table. An approval grants this and nothing that the machine asks for later.
fn request(asking: &Asking) -> String {
    let host = &asking.hostinfo;
    let listed = |texts: Vec<String>| if texts.is_empty() { "none".to_owned() } else { texts.join(", ") };
    let rows = [
        ("Host name", host.hostname.clone()),
        ("Operating system", host.os.clone()),
        ("Address", asking.source.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string())),
        ("Machine key", format!("{}…", asking.fingerprint())),
        ("Requested tags", listed(host.request_tags.clone())),
        ("Requested routes", listed(host.routable_ips.iter().map(ToString::to_string).collect())),
        ("Requested expiry", asking.expiry.map_or_else(|| "none".to_owned(), |at| at.to_string())),
        ("Ephemeral", if asking.ephemeral { "yes" } else { "no" }.to_owned()),
    ];
    let row =
        |(name, value): &(&str, String)| format!("<tr><th align=left>{name}<td>{}", escape(&plain(value)));
    let rows: String = rows.iter().map(row).collect();
    format!("<p>The machine asks for this, and gets no more than this:</p><table>{rows}</table>")
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
