//! Logins and SSH checks that wait for an administrator's decision.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
