//! Logins and checks that wait for somebody's word.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::user::{UserRef, opt_user};
use crate::lenient;

/// A web login to complete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["user", "authId"]))]
pub struct AuthRegisterRequest {
    /// Who is to own the node.
    #[serde(deserialize_with = "opt_user", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "UserRef")]
    pub user: Option<UserRef>,
    /// The id of the login, `hskey-authreq-…`.
    #[serde(alias = "auth_id", deserialize_with = "lenient::or_default")]
    pub auth_id: String,
}

/// A pending request to approve or to reject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["authId"]))]
pub struct AuthRequest {
    /// Its id, `hskey-authreq-…`.
    #[serde(alias = "auth_id", deserialize_with = "lenient::or_default")]
    pub auth_id: String,
}

/// Something that waits for an approval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PendingAuth {
    /// Its id, `hskey-authreq-…`.
    pub auth_id: String,
    /// What it is.
    pub kind: PendingKind,
    /// The host name of the node that wants in, or the name of the node that wants to connect.
    pub source: String,
    /// Of an SSH check: the node to connect to.
    pub destination: String,
    /// When it was asked for.
    pub created_at: Option<Timestamp>,
    /// When it is forgotten.
    pub expires_at: Option<Timestamp>,
}

/// What waits for an approval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PendingKind {
    /// The login of a node.
    #[default]
    Register,
    /// An SSH connection in check mode.
    Ssh,
}

/// Everything that waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ListPendingResponse {
    /// Oldest first.
    pub pending: Vec<PendingAuth>,
}
