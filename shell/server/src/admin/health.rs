//! The health check.

use axum::Json;
use axum::extract::State;
use headsail_api::v1::health::HealthResponse;

use super::{Admin, Answer};

/// [`headsail_api::paths::HEALTH`]
pub async fn get(State(admin): State<Admin>) -> Answer<HealthResponse> {
    Ok(Json(HealthResponse { database_connectivity: admin.app.clerk.is_healthy().await }))
}
