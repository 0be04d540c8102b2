//! What strangers may ask of the API: the documents that describe it, and what is not there.

mod page;

use std::sync::LazyLock;

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get};
use headsail_api::{Problem, openapi};

use super::error::Refusal;
use super::{Admin, wrong_method};

/// Where documents of Headscale before 0.30 were.
const OLD_PAGE: &str = "/swagger";
const OLD_JSON: &str = "/swagger/v1/openapiv2.json";

/// The document in each of its forms; it never changes while the server runs.
static JSON: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", openapi::document()));
static YAML: LazyLock<String> =
    LazyLock::new(|| serde_saphyr::to_string(&openapi::document()).unwrap_or_default());

/// Routes that need no key.
pub fn routes() -> Router<Admin> {
    Router::new()
        .route(openapi::JSON_PATH, get(|| document("application/json", &JSON)))
        .route(openapi::YAML_PATH, get(|| document("application/yaml", &YAML)))
        .route(openapi::PAGE_PATH, get(page::show))
        .route(OLD_PAGE, get(|| async { Redirect::permanent(openapi::PAGE_PATH) }))
        .route(OLD_JSON, get(|| async { Redirect::permanent(openapi::JSON_PATH) }))
        .route("/api/v1", any(nowhere))
        .route("/api/v1/", any(nowhere))
        .route("/api/v1/{*rest}", any(nowhere))
        .method_not_allowed_fallback(wrong_method)
}

async fn document(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn nowhere() -> Refusal {
    Problem::not_found(format!("there is no such operation; {} lists them", openapi::PAGE_PATH)).into()
}
