//! `GET /key`: the public keys of this server, the first request of every client.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use headsail_tailnet::command::Rejection;
use headsail_wire::capver::CapVer;
use headsail_wire::keys::MachineKey;
use serde::Serialize;

use crate::app::Process;
use crate::clerk::Failure;
use crate::control::reply::{refuse, text};

/// Both keys are always present: tailscale-rs requires them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Keys {
    legacy_public_key: MachineKey,
    public_key: MachineKey,
}

/// Answers with the Noise public key. `v` is the capability version of the client.
pub async fn get(
    State(process): State<Arc<Process>>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let version = query.get("v").and_then(|v| v.parse().ok()).map(CapVer);
    match version {
        None => text(
            StatusCode::BAD_REQUEST,
            "the query parameter `v`, the capability version of the client, is missing",
        ),
        Some(v) if !v.is_supported() => refuse(Failure::Rejected(Rejection::TooOld(v))),
        Some(_) => {
            let public_key = MachineKey::from_bytes(*process.noise.public_key());
            Json(Keys { legacy_public_key: MachineKey::default(), public_key }).into_response()
        }
    }
}
