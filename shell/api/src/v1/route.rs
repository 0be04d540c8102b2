//! Routes as things of their own, as they were before 0.26: guides and scripts still use them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::node::Node;
use crate::lenient;

/// A route of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Route {
    /// Its id: the same for as long as the node advertises it or has it approved.
    #[serde(with = "lenient::Id")]
    pub id: u64,
    /// Whose route it is.
    pub node: Option<Node>,
    /// The network, such as `10.0.0.0/8`.
    pub prefix: String,
    /// Whether the node offers it.
    pub advertised: bool,
    /// Whether it is approved.
    pub enabled: bool,
    /// Whether this node is the one that serves it.
    #[serde(alias = "is_primary")]
    pub is_primary: bool,
}

/// Routes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ListRoutesResponse {
    /// In order of their ids.
    pub routes: Vec<Route>,
}
