//! Help for tests.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::user::{UserRef, opt_user};
use crate::lenient;

/// A pending registration to make up, as if a client had asked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["user", "key"]))]
pub struct CreateDebugNodeRequest {
    /// Who is to own the node.
    #[serde(deserialize_with = "opt_user", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "UserRef")]
    pub user: Option<UserRef>,
    /// The id that the registration is to have.
    #[serde(deserialize_with = "lenient::or_default")]
    pub key: String,
    /// Its host name.
    #[serde(deserialize_with = "lenient::or_default")]
    pub name: String,
    /// The routes that it advertises.
    #[serde(deserialize_with = "lenient::or_default")]
    pub routes: Vec<String>,
}
