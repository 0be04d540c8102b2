//! Authentication by API key, on the listeners that are reachable over the network.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use headsail_api::Problem;
use headsail_tailnet::actor::Actor;
use headsail_tailnet::command::Command;
use headsail_tailnet::model::key::{API_KEY_PREFIX, ApiKey, parse};
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::time::Time;

use super::error::Refusal;
use crate::app::TailnetService;
use crate::listen::Seat;
use crate::system::clock;

/// The use of a key is recorded at most this often, so that a busy client does not fill the clerk's queue.
const NOTE_USE_SECS: i64 = 60;

/// Admits requests with a valid API key.
pub async fn check(State(tailnet): State<Arc<TailnetService>>, mut request: Request, next: Next) -> Response {
    let now = clock::now();
    let snapshot = tailnet.clerk.snapshot();
    let Some(key) = holder(&snapshot, request.headers(), now) else {
        return Refusal(Problem::unauthorized()).into_response();
    };
    if key.last_seen.is_none_or(|seen| now >= seen.plus_secs(NOTE_USE_SECS)) {
        tailnet.clerk.notify(Actor::ApiKey(key.id), Command::ApiKeyUsed(key.id)).await;
    }
    if let Some(seat) = request.extensions().get::<Seat>() {
        seat.recognise();
    }
    request.extensions_mut().insert(Actor::ApiKey(key.id));
    next.run(request).await
}

/// The API key of a request, if it is valid now.
fn holder<'a>(t: &'a Tailnet, headers: &HeaderMap, now: Time) -> Option<&'a Arc<ApiKey>> {
    let header = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, text) = header.split_once(' ')?;
    let (prefix, digest) = parse(API_KEY_PREFIX, text.trim())?;
    let key = t.api_key_by_prefix(&prefix)?;
    (scheme.eq_ignore_ascii_case("bearer") && key.opens(&digest, now)).then_some(key)
}
