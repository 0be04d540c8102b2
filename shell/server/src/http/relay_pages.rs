//! The relay and its small pages as routes of the HTTP server.
//!
//! A fast start never comes here: [`crate::listen`] takes it before HTTP answers. What comes here is answered first, and
//! may share its connection with other requests, as behind a proxy.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, RawQuery, Request, State};
use axum::http::{HeaderMap, Method, Response};
use axum::response::IntoResponse;
use axum::routing::any;
use hyper_util::rt::TokioIo;

use crate::app::{App, TailnetService};
use crate::listen::{Seat, UPGRADE_TIMEOUT};
use crate::relay::Relay;
use crate::relay::http::{self, Entry};

/// `/derp` and what clients ask a relay host for; nothing where no relay runs.
pub fn routes(app: App) -> Router {
    let Some(relay) = app.process.relay.clone() else { return Router::new() };
    Router::new()
        .route("/derp", any(derp).with_state(relay))
        .route("/derp/probe", any(|method: Method| async move { http::probe(&method) }))
        .route("/derp/latency-check", any(|method: Method| async move { http::probe(&method) }))
        .route("/generate_204", any(|headers: HeaderMap| async move { http::generate_204(&headers) }))
        .route("/bootstrap-dns", any(bootstrap_dns).with_state(app.tailnet))
}

async fn derp(
    State(relay): State<Relay>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Response<Body> {
    let mut headers = request.headers().clone();
    headers.remove("derp-fast-start");
    let (answer, websocket) = match http::entry(&relay, request.method(), &headers) {
        Entry::Upgrade(answer) => (answer, false),
        Entry::WebSocket(answer) => (answer, true),
        Entry::Refuse(answer) => return answer.into_response(),
        Entry::FastStart => return Response::new(Body::empty()),
    };
    let seat = request.extensions().get::<Seat>().cloned();
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let _seat = seat;
        let Ok(Ok(connection)) = tokio::time::timeout(UPGRADE_TIMEOUT, upgraded).await else { return };
        let io = TokioIo::new(connection);
        if websocket {
            http::serve_websocket(&relay, io, remote).await;
        } else {
            relay.serve_stream(io, remote).await;
        }
    });
    answer.into_response()
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
    http::bootstrap_dns(&hosts, query.as_deref()).into_response()
}
