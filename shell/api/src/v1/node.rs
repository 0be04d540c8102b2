//! Nodes.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::preauthkey::PreAuthKey;
use super::user::{User, UserRef, opt_user};
use crate::lenient;

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Node {
    /// Its id.
    #[serde(with = "lenient::Id")]
    pub id: u64,
    /// The key of its machine, `mkey:` and hex.
    #[serde(alias = "machine_key")]
    pub machine_key: String,
    /// Its WireGuard key, `nodekey:` and hex.
    #[serde(alias = "node_key")]
    pub node_key: String,
    /// Its path discovery key, `discokey:` and hex.
    #[serde(alias = "disco_key")]
    pub disco_key: String,
    /// Its addresses, IPv4 first.
    #[serde(alias = "ip_addresses", deserialize_with = "lenient::or_default")]
    pub ip_addresses: Vec<String>,
    /// The host name as the client gave it.
    pub name: String,
    /// Its owner; for a tagged node `null`, or the pseudo user `tagged-devices`.
    pub user: Option<User>,
    /// When it was last connected; `null` if never.
    #[serde(alias = "last_seen", deserialize_with = "lenient::opt_time")]
    pub last_seen: Option<Timestamp>,
    /// When its login expires; `null` for never.
    #[serde(deserialize_with = "lenient::opt_time")]
    pub expiry: Option<Timestamp>,
    /// The auth key it came in by.
    #[serde(alias = "pre_auth_key")]
    pub pre_auth_key: Option<PreAuthKey>,
    /// When it was registered.
    #[serde(alias = "created_at", deserialize_with = "lenient::opt_time")]
    pub created_at: Option<Timestamp>,
    /// How it came in.
    #[serde(alias = "register_method")]
    pub register_method: RegisterMethod,
    /// Its name in the network: unique and DNS-safe.
    #[serde(alias = "given_name")]
    pub given_name: String,
    /// Whether it is connected.
    pub online: bool,
    /// Routes that an administrator or the policy approved.
    #[serde(alias = "approved_routes", deserialize_with = "lenient::or_default")]
    pub approved_routes: Vec<String>,
    /// Routes that it advertises.
    #[serde(alias = "available_routes", deserialize_with = "lenient::or_default")]
    pub available_routes: Vec<String>,
    /// Routes that it serves: primary subnet routes, and exit routes.
    #[serde(alias = "subnet_routes", deserialize_with = "lenient::or_default")]
    pub subnet_routes: Vec<String>,
    /// Its tags.
    #[serde(deserialize_with = "lenient::or_default")]
    pub tags: Vec<String>,
}

/// How a node came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RegisterMethod {
    /// By an auth key.
    #[serde(rename = "REGISTER_METHOD_AUTH_KEY")]
    AuthKey,
    /// By an administrator.
    #[serde(rename = "REGISTER_METHOD_CLI")]
    Cli,
    /// By an identity provider.
    #[serde(rename = "REGISTER_METHOD_OIDC")]
    Oidc,
    /// Not known.
    #[default]
    #[serde(rename = "REGISTER_METHOD_UNSPECIFIED", other)]
    Unspecified,
}

/// Which nodes to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ListNodesQuery {
    /// Only the nodes of this user.
    #[serde(deserialize_with = "opt_user", skip_serializing_if = "Option::is_none")]
    pub user: Option<UserRef>,
}

/// Nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ListNodesResponse {
    /// In order of their ids.
    pub nodes: Vec<Node>,
}

/// One node, after whatever was done to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NodeResponse {
    /// The node.
    pub node: Node,
}

/// When a node's login is to expire. Nothing means now; both fields at once are an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ExpireNodeRequest {
    /// Then.
    #[serde(deserialize_with = "lenient::opt_time", skip_serializing_if = "Option::is_none")]
    pub expiry: Option<Timestamp>,
    /// Never.
    #[serde(
        alias = "disable_expiry",
        deserialize_with = "lenient::flag",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub disable_expiry: bool,
}

/// The tags that a node is to have instead of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["tags"]))]
pub struct SetTagsRequest {
    /// At least one.
    #[serde(deserialize_with = "lenient::or_default")]
    pub tags: Vec<String>,
}

/// The routes that are to be approved instead of those that are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ApproveRoutesRequest {
    /// Prefixes; one default route stands for both. Empty takes every approval back.
    #[serde(deserialize_with = "lenient::or_default")]
    pub routes: Vec<String>,
}

/// A web login to complete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["user", "key"]))]
pub struct RegisterNodeQuery {
    /// Who is to own the node.
    #[serde(deserialize_with = "opt_user", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "UserRef")]
    pub user: Option<UserRef>,
    /// The id of the login, with or without `hskey-authreq-`.
    #[serde(deserialize_with = "lenient::or_default")]
    pub key: String,
}

/// Whether to fill in addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["confirmed"]))]
pub struct BackfillQuery {
    /// Must be true.
    #[serde(deserialize_with = "lenient::flag")]
    pub confirmed: bool,
}

/// What filling in addresses did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BackfillResponse {
    /// One sentence per change.
    #[serde(deserialize_with = "lenient::or_default")]
    pub changes: Vec<String>,
}
