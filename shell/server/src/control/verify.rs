//! `POST /verify`: other relays ask whether a node may use them.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use headsail_wire::json;
use headsail_wire::keys::NodeKey;
use serde::Deserialize;

use crate::app::TailnetService;

/// Largest body of such a request, in bytes.
pub const MAX_BODY: usize = 4 * 1024;

/// `tailcfg.DERPAdmitClientRequest` of the Go client.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct VerifyRequest {
    node_public: NodeKey,
}

/// Admits nodes that are registered here and whose login has not expired.
pub async fn post(
    State(tailnet): State<Arc<TailnetService>>,
    body: Result<Bytes, BytesRejection>,
) -> Response<Body> {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return rejection.into_response(),
    };
    match json::decode::<VerifyRequest>(&body) {
        Ok(request) => {
            let allow = tailnet.clerk.snapshot().valid_node_by_key(&request.node_public).is_some();
            Json(serde_json::json!({ "Allow": allow })).into_response()
        }
        Err(error) => {
            (StatusCode::BAD_REQUEST, format!("cannot read the request: {error}\n")).into_response()
        }
    }
}
