//! Operations for testing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::user::{UserRef, opt_user};
use crate::lenient;

/// Creates a pending login, as if a client had asked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["user", "key"]))]
pub struct CreateDebugNodeRequest {
    /// The user who will own the node.
    #[serde(deserialize_with = "opt_user", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "UserRef")]
    pub user: Option<UserRef>,
    /// The id of the pending login.
    #[serde(deserialize_with = "lenient::or_default")]
    pub key: String,
    /// The node's host name.
    #[serde(deserialize_with = "lenient::or_default")]
    pub name: String,
    /// The routes that the node advertises.
    #[serde(deserialize_with = "lenient::or_default")]
    pub routes: Vec<String>,
}
