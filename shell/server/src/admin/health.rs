//! The health check.

use axum::Json;
use headsail_api::v1::health::HealthResponse;

use super::{Admin, Answer};

/// [`headsail_api::paths::HEALTH`]
pub async fn get(admin: Admin) -> Answer<HealthResponse> {
    Ok(Json(HealthResponse { database_connectivity: admin.tailnet.clerk.is_healthy().await }))
}
