//! Whether the server works.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The state of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HealthResponse {
    /// Whether the database answers.
    #[serde(alias = "database_connectivity")]
    pub database_connectivity: bool,
}
