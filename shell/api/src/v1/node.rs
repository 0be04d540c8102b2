//! Nodes.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::preauthkey::PreAuthKey;
use super::user::{User, UserRef, opt_user};
use crate::lenient;

/// A node of the tailnet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Node {
    /// The node's id.
    #[serde(with = "lenient::Id")]
    pub id: u64,
    /// The machine key, `mkey:` and hex.
    #[serde(alias = "machine_key")]
    pub machine_key: String,
    /// The node key (WireGuard public key), `nodekey:` and hex.
    #[serde(alias = "node_key")]
    pub node_key: String,
    /// The discovery key, `discokey:` and hex.
    #[serde(alias = "disco_key")]
    pub disco_key: String,
    /// The node's addresses, IPv4 first.
    #[serde(alias = "ip_addresses", deserialize_with = "lenient::or_default")]
    pub ip_addresses: Vec<String>,
    /// The host name as reported by the client.
    pub name: String,
    /// The owner; for a tagged node, `null` or the placeholder user `tagged-devices`.
    pub user: Option<User>,
    /// When the node was last connected; `null` for never.
    #[serde(alias = "last_seen", deserialize_with = "lenient::opt_time")]
    pub last_seen: Option<Timestamp>,
    /// When the node's login expires; `null` for never.
    #[serde(deserialize_with = "lenient::opt_time")]
    pub expiry: Option<Timestamp>,
    /// The pre-auth key that the node joined with.
    #[serde(alias = "pre_auth_key")]
    pub pre_auth_key: Option<PreAuthKey>,
    /// When the node was registered.
    #[serde(alias = "created_at", deserialize_with = "lenient::opt_time")]
    pub created_at: Option<Timestamp>,
    /// How the node was registered.
    #[serde(alias = "register_method")]
    pub register_method: RegisterMethod,
    /// The node's DNS name in the tailnet: unique, and a valid DNS label.
    #[serde(alias = "given_name")]
    pub given_name: String,
    /// Whether the node is connected.
    pub online: bool,
    /// Routes approved by an administrator or by the policy.
    #[serde(alias = "approved_routes", deserialize_with = "lenient::or_default")]
    pub approved_routes: Vec<String>,
    /// Routes that the node advertises.
    #[serde(alias = "available_routes", deserialize_with = "lenient::or_default")]
    pub available_routes: Vec<String>,
    /// Routes that the node serves: subnet routes for which it is the primary, and exit routes.
    #[serde(alias = "subnet_routes", deserialize_with = "lenient::or_default")]
    pub subnet_routes: Vec<String>,
    /// The node's tags.
    #[serde(deserialize_with = "lenient::or_default")]
    pub tags: Vec<String>,
}

/// How a node was registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RegisterMethod {
    /// With a pre-auth key.
    #[serde(rename = "REGISTER_METHOD_AUTH_KEY")]
    AuthKey,
    /// By an administrator.
    #[serde(rename = "REGISTER_METHOD_CLI")]
    Cli,
    /// Through an identity provider.
    #[serde(rename = "REGISTER_METHOD_OIDC")]
    Oidc,
    /// Unknown.
    #[default]
    #[serde(rename = "REGISTER_METHOD_UNSPECIFIED", other)]
    Unspecified,
}

/// Selects the nodes to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ListNodesQuery {
    /// Only the nodes of this user.
    #[serde(deserialize_with = "opt_user", skip_serializing_if = "Option::is_none")]
    pub user: Option<UserRef>,
}

/// A list of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ListNodesResponse {
    /// The nodes, in order of id.
    pub nodes: Vec<Node>,
}

/// One node, as it is after the operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NodeResponse {
    /// The node.
    pub node: Node,
}

/// Sets when a node's login expires. Without either field, it expires now; both fields together are an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ExpireNodeRequest {
    /// The time at which the login expires.
    #[serde(deserialize_with = "lenient::opt_time", skip_serializing_if = "Option::is_none")]
    pub expiry: Option<Timestamp>,
    /// If true, the login never expires.
    #[serde(
        alias = "disable_expiry",
        deserialize_with = "lenient::flag",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub disable_expiry: bool,
}

/// Replaces a node's tags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["tags"]))]
pub struct SetTagsRequest {
    /// The new tags, at least one.
    #[serde(deserialize_with = "lenient::or_default")]
    pub tags: Vec<String>,
}

/// Replaces a node's approved routes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ApproveRoutesRequest {
    /// The prefixes to approve. `0.0.0.0/0` or `::/0` approves both. An empty list withdraws every approval.
    #[serde(deserialize_with = "lenient::or_default")]
    pub routes: Vec<String>,
}

/// Completes a pending login.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["user", "key"]))]
pub struct RegisterNodeQuery {
    /// The user who will own the node.
    #[serde(deserialize_with = "opt_user", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "UserRef")]
    pub user: Option<UserRef>,
    /// The id of the pending login, with or without `hskey-authreq-`.
    #[serde(deserialize_with = "lenient::or_default")]
    pub key: String,
}

/// Confirms the assignment of addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["confirmed"]))]
pub struct BackfillQuery {
    /// Must be true.
    #[serde(deserialize_with = "lenient::flag")]
    pub confirmed: bool,
}

/// The result of assigning addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BackfillResponse {
    /// One message per change.
    #[serde(deserialize_with = "lenient::or_default")]
    pub changes: Vec<String>,
}
