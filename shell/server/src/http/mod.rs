//! The routes of the HTTP and TLS listeners, and of the unix socket.

pub mod browsers;
mod health;
pub mod metrics;
mod relay_pages;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware;
use axum::response::Html;
use axum::routing::{any, get, post};
use axum::{Json, Router};

use crate::admin::{self, Trust};
use crate::app::{App, TailnetService};
use crate::control::{key, ping, upgrade, verify};
use crate::listen::unread;
use crate::{login, version};

/// What any client may ask for, and the admin API for clients that have a key.
pub fn public(app: App) -> Router {
    Router::new()
        .route("/key", get(key::get))
        .route("/ts2021", any(upgrade::ts2021))
        .route("/health", get(health::get))
        .route("/version", get(|| async { Json(version::THIS) }))
        .route("/verify", post(verify::post).layer(DefaultBodyLimit::max(verify::MAX_BODY)))
        .route("/register/{ticket}", get(login::pages::register))
        .route("/auth/{check}", get(login::pages::auth))
        .route("/machine/ping-response", any(ping::response))
        .route("/robots.txt", get(|| async { "User-agent: *\nDisallow: /\n" }))
        .route("/favicon.ico", get(login::layout::icon))
        .route("/apple", get(login::devices::apple))
        .route("/apple/{profile}", get(login::devices::profile))
        .route("/windows", get(login::devices::windows))
        .route("/", get(|| async { Html(login::pages::HOME) }))
        .with_state(app.clone())
        .merge(relay_pages::routes(app.clone()))
        .merge(admin::routes(app.tailnet, Trust::Bearer))
        .fallback(|| async { (StatusCode::NOT_FOUND, "there is no such page\n") })
        .layer(middleware::from_fn(browsers::guard))
        .layer(middleware::from_fn(unread::drain))
}

/// The unix socket: every client that may open it is trusted.
pub fn local(tailnet: Arc<TailnetService>) -> Router {
    admin::routes(tailnet.clone(), Trust::Socket)
        .route("/health", get(health::get).with_state(tailnet))
        .layer(middleware::from_fn(unread::drain))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn the_version_names_the_build() {
        let request = Request::get("/version").body(Body::empty()).unwrap();
        let response = public(testing::app()).oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let version = testing::read(response).await;
        assert_eq!(version["product"], "headsail");
        assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
        assert!(
            version["commit"].is_string()
                && version["buildTime"].is_string()
                && version["dirty"].is_boolean()
        );
        assert_eq!(version["rust"]["os"], std::env::consts::OS);
        assert_eq!(version["rust"]["arch"], std::env::consts::ARCH);
    }
}
