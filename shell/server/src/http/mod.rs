//! The public face: every page and endpoint of the HTTP and TLS listeners.

pub mod metrics;
pub mod relay_pages;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use headsail_wire::json;
use headsail_wire::keys::NodeKey;
use serde::Deserialize;

use crate::admin::{self, Trust};
use crate::app::{App, TailnetService};
use crate::control::{key, upgrade};
use crate::listen::unread;
use crate::{login, version};

/// Largest body of a question whether a node may relay.
const MAX_VERIFY: usize = 4 * 1024;

/// Everything that strangers may ask for, and the admin API for whoever has a key.
pub fn public(app: App) -> Router {
    Router::new()
        .route("/key", get(key::get))
        .route("/ts2021", any(upgrade::ts2021))
        .route("/health", get(health))
        .route("/version", get(|| async { Json(version::THIS) }))
        .route("/verify", post(verify).layer(DefaultBodyLimit::max(MAX_VERIFY)))
        .route("/register/{ticket}", get(login::pages::register))
        .route("/auth/{check}", get(login::pages::auth))
        .route("/machine/ping-response", any(ping_response))
        .route("/robots.txt", get(|| async { "User-agent: *\nDisallow: /\n" }))
        .route("/favicon.ico", get(login::layout::icon))
        .route("/apple", get(login::devices::apple))
        .route("/apple/{profile}", get(login::devices::profile))
        .route("/windows", get(login::devices::windows))
        .route("/", get(|| async { Html(login::pages::HOME) }))
        .with_state(app.clone())
        .merge(crate::http::relay_pages::routes(app.clone()))
        .merge(admin::routes(app.tailnet, Trust::Bearer))
        .fallback(|| async { (StatusCode::NOT_FOUND, "there is no such page\n") })
        .layer(middleware::from_fn(guard_browsers))
        .layer(middleware::from_fn(unread::drain))
}

/// The unix socket: whoever may open it is trusted.
pub fn local(tailnet: Arc<TailnetService>) -> Router {
    admin::routes(tailnet.clone(), Trust::Socket)
        .route("/health", get(health).with_state(tailnet))
        .layer(middleware::from_fn(unread::drain))
}

async fn guard_browsers(request: Request, next: Next) -> Response {
    const HEADERS: [(HeaderName, HeaderValue); 4] = [
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("frame-ancestors 'none'")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    let mut response = next.run(request).await;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().extend(HEADERS);
    }
    response
}

async fn health(State(tailnet): State<Arc<TailnetService>>) -> Response {
    let (status, body) = match tailnet.health.is_good().await {
        true => (StatusCode::OK, r#"{"status":"pass"}"#),
        false => (StatusCode::INTERNAL_SERVER_ERROR, r#"{"status":"fail"}"#),
    };
    (status, [(header::CONTENT_TYPE, "application/health+json")], Body::from(body)).into_response()
}

/// Where clients answer pings of this server. None is outstanding as long as the server sends none.
async fn ping_response(method: Method, Query(query): Query<BTreeMap<String, String>>) -> StatusCode {
    match (method, query.get("id")) {
        (Method::HEAD, Some(_)) => StatusCode::NOT_FOUND,
        (Method::HEAD, None) => StatusCode::BAD_REQUEST,
        _ => StatusCode::METHOD_NOT_ALLOWED,
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct VerifyRequest {
    node_public: NodeKey,
}

/// Tells other relays whether a node key is registered here (`tailcfg.DERPAdmitClientRequest`).
async fn verify(
    State(tailnet): State<Arc<TailnetService>>,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return rejection.into_response(),
    };
    match json::decode::<VerifyRequest>(&body) {
        Ok(request) => {
            let allow = tailnet.clerk.snapshot().node_by_key(&request.node_public).is_some();
            Json(serde_json::json!({ "Allow": allow })).into_response()
        }
        Err(error) => {
            (StatusCode::BAD_REQUEST, format!("the request can't be read: {error}\n")).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use headsail_tailnet::command::Command;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::testing;

    async fn get(app: &App, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = public(app.clone()).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_version_says_what_was_built() {
        let (status, body) = get(&testing::app(), "/version").await;
        let told: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &told["product"]), (200, &"headsail".into()));
        assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
        assert!(told["commit"].is_string() && told["buildTime"].is_string() && told["dirty"].is_boolean());
        assert_eq!(told["rust"]["os"], std::env::consts::OS);
        assert_eq!(told["rust"]["arch"], std::env::consts::ARCH);
    }

    #[tokio::test]
    async fn the_disk_is_asked_for_a_verdict_once_in_a_while() {
        let app = testing::app();
        assert_eq!(get(&app, "/health").await, (200, r#"{"status":"pass"}"#.to_owned()));
        app.tailnet.clerk.stop(Command::Shutdown).await;
        assert_eq!(get(&app, "/health").await.0, 200, "known from a moment ago");
        tokio::time::pause();
        tokio::time::advance(crate::clerk::health::GOOD_FOR).await;
        tokio::time::resume();
        assert_eq!(get(&app, "/health").await, (500, r#"{"status":"fail"}"#.to_owned()));
    }
}
