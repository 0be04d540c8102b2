//! Routes as resources of their own, as in Headscale before 0.26. Guides and scripts still use them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::node::Node;
use crate::lenient;

/// A route of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Route {
    /// The route's id. It stays the same for as long as the node advertises the route or has it approved.
    #[serde(with = "lenient::Id")]
    pub id: u64,
    /// The node that the route belongs to.
    pub node: Option<Node>,
    /// The prefix, such as `10.0.0.0/8`.
    pub prefix: String,
    /// Whether the node advertises the route.
    pub advertised: bool,
    /// Whether the route is approved.
    pub enabled: bool,
    /// Whether this node is the primary router for the prefix.
    #[serde(alias = "is_primary")]
    pub is_primary: bool,
}

/// A list of routes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ListRoutesResponse {
    /// The routes, in order of id.
    pub routes: Vec<Route>,
}
