//! The relay and its small pages as routes of the HTTP server.
//!
//! A fast start that began its connection never comes here: [`crate::listen`] serves it without HTTP. Any other is answered
//! like a plain upgrade, because its connection may be shared with other requests, as behind a proxy.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, RawQuery, Request, State};
use axum::http::{HeaderMap, Method, Response};
use axum::response::IntoResponse;
use axum::routing::any;

use crate::app::{App, TailnetService};
use crate::listen::Seat;
use crate::listen::classify::{self, Upgrade};
use crate::listen::{take_over, websocket};
use crate::relay::{Relay, responses};

/// The subprotocol of WebSockets that carry DERP.
const SUBPROTOCOL: &str = "derp";
/// Longest message of a WebSocket, in bytes: a DERP packet of 64 KiB and what may come along with it.
const MAX_MESSAGE: usize = 256 * 1024;

/// `/derp` and what clients ask a relay host for; nothing where no relay runs.
pub fn routes(app: App) -> Router {
    let Some(relay) = app.process.relay.clone() else { return Router::new() };
    Router::new()
        .route("/derp", any(derp).with_state(relay))
        .route("/derp/probe", any(|method: Method| async move { responses::probe(&method) }))
        .route("/derp/latency-check", any(|method: Method| async move { responses::probe(&method) }))
        .route("/generate_204", any(|headers: HeaderMap| async move { responses::generate_204(&headers) }))
        .route("/bootstrap-dns", any(bootstrap_dns).with_state(app.tailnet))
}

async fn derp(
    State(relay): State<Relay>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Response<Body> {
    let seat = request.extensions().get::<Seat>().cloned();
    let admitted = move || seat.iter().for_each(Seat::recognise);
    match classify::upgrade(request.method(), request.uri().path(), request.headers()) {
        Some(Upgrade::Derp) => {
            let response = responses::switch_to_derp(&relay);
            take_over(&mut request, async move |io| {
                relay.serve_stream(io, remote, admitted).await;
            });
            response.into_response()
        }
        Some(Upgrade::DerpWebSocket) if !websocket::offers(request.headers(), SUBPROTOCOL) => {
            responses::wrong_subprotocol().into_response()
        }
        Some(Upgrade::DerpWebSocket) => {
            websocket::open(&mut request, SUBPROTOCOL, MAX_MESSAGE, async move |io| {
                relay.serve_stream(io, remote, admitted).await;
            })
        }
        Some(Upgrade::Control | Upgrade::ControlWebSocket) | None => {
            responses::upgrade_required().into_response()
        }
    }
}

async fn bootstrap_dns(
    State(tailnet): State<Arc<TailnetService>>,
    RawQuery(query): RawQuery,
) -> Response<Body> {
    let snapshot = tailnet.clerk.snapshot();
    let mut hosts: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for node in snapshot.settings().derp.regions.values().flat_map(|r| &r.nodes) {
        let pinned =
            [&node.ipv4, &node.ipv6, &node.host_name].into_iter().filter_map(|text| text.parse().ok());
        let addresses: Vec<IpAddr> = pinned.collect();
        if !addresses.is_empty() {
            hosts.entry(node.host_name.clone()).or_default().extend(addresses);
        }
    }
    for addresses in hosts.values_mut() {
        addresses.sort();
        addresses.dedup();
    }
    responses::bootstrap_dns(&hosts, query.as_deref()).into_response()
}
