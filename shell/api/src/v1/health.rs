//! The server's health.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The server's health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HealthResponse {
    /// Whether the database is working.
    #[serde(alias = "database_connectivity")]
    pub database_connectivity: bool,
}
