//! Logins and SSH checks that wait for an administrator's decision.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::node::Node;
use super::user::{UserRef, opt_user};
use crate::lenient;

/// Completes a pending login.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["user", "authId"]))]
pub struct AuthRegisterRequest {
    /// The user who will own the node.
    #[serde(deserialize_with = "opt_user", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "UserRef")]
    pub user: Option<UserRef>,
    /// The id of the pending login, `hskey-authreq-…`.
    #[serde(alias = "auth_id", deserialize_with = "lenient::or_default")]
    pub auth_id: String,
}

/// The node that a login created, and what the approval granted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RegisterAuthResponse {
    /// The node.
    pub node: Node,
    /// What the approval granted.
    pub granted: Granted,
}

/// What the approval of a login granted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Granted {
    /// The name of the user who owns the node; empty if it has tags.
    pub user: String,
    /// The tags of the node.
    pub tags: Vec<String>,
    /// The routes of the node that are approved.
    pub approved_routes: Vec<String>,
    /// The routes that the machine asked for and that are not approved.
    pub unapproved_routes: Vec<String>,
    /// Whether the node is deleted when it goes offline.
    pub ephemeral: bool,
    /// When the login expires.
    pub expiry: Option<Timestamp>,
    /// The first 16 hex digits of the machine key.
    pub key_fingerprint: String,
}

/// Selects a pending request to approve or reject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["authId"]))]
pub struct AuthRequest {
    /// The id of the request, `hskey-authreq-…`.
    #[serde(alias = "auth_id", deserialize_with = "lenient::or_default")]
    pub auth_id: String,
}

/// A login or SSH check that waits for a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PendingAuth {
    /// The id of the request, `hskey-authreq-…`.
    pub auth_id: String,
    /// Whether it is a login or an SSH check.
    pub kind: PendingKind,
    /// For a login, the host name of the machine; for an SSH check, the name of the connecting node.
    pub source: String,
    /// For an SSH check, the name of the node to connect to; otherwise empty.
    pub destination: String,
    /// For a login, the operating system of the machine.
    pub os: String,
    /// For a login, the address that the request came from; empty if it did not come over the network.
    pub source_address: String,
    /// For a login, the first 16 hex digits of the machine key.
    pub key_fingerprint: String,
    /// For a login, the tags that the machine asks for. An approval grants them if the user owns all of them.
    pub requested_tags: Vec<String>,
    /// For a login, the routes that the machine advertises. An approval grants those that the policy approves
    /// automatically.
    pub requested_routes: Vec<String>,
    /// For a login, whether the node is to be deleted when it goes offline.
    pub ephemeral: bool,
    /// For a login, the expiry that the machine asks for.
    pub requested_expiry: Option<Timestamp>,
    /// When the request was made.
    pub created_at: Option<Timestamp>,
    /// When the request expires.
    pub expires_at: Option<Timestamp>,
}

/// The kind of a pending request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PendingKind {
    /// A node's login.
    #[default]
    Register,
    /// An SSH connection in check mode.
    Ssh,
}

/// A list of pending requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ListPendingResponse {
    /// The requests, oldest first.
    pub pending: Vec<PendingAuth>,
}
