//! What the API answers without a key: its OpenAPI documents, and 404 for unknown operations.

mod page;

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get};
use headsail_api::{Problem, openapi};

use super::error::Refusal;
use super::wrong_method;
use crate::app::TailnetService;

/// The paths of the documents in Headscale before 0.30.
const OLD_PAGE: &str = "/swagger";
const OLD_JSON: &str = "/swagger/v1/openapiv2.json";

/// Rendered once: the document never changes while the server runs.
static JSON: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", openapi::document()));
static YAML: LazyLock<String> =
    LazyLock::new(|| serde_saphyr::to_string(&openapi::document()).unwrap_or_default());

/// The routes that need no API key.
pub fn routes() -> Router<Arc<TailnetService>> {
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
    Problem::not_found(format!("there is no such operation; see {} for a list", openapi::PAGE_PATH)).into()
}
