//! Auth keys, which let nodes in without a login.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::user::{User, UserRef, opt_user};
use crate::lenient;

/// An auth key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PreAuthKey {
    /// Who owns the nodes it lets in; `null` for a key that carries tags.
    pub user: Option<User>,
    /// Its id.
    #[serde(with = "lenient::Id")]
    pub id: u64,
    /// The secret in the answer to its creation, else masked: `hskey-auth-<prefix>-***`.
    pub key: String,
    /// Whether it lets in more than one node.
    pub reusable: bool,
    /// Whether its nodes are deleted when they go offline.
    pub ephemeral: bool,
    /// Whether a node came in by it.
    pub used: bool,
    /// When it stops working; `null` for never.
    #[serde(deserialize_with = "lenient::opt_time")]
    pub expiration: Option<Timestamp>,
    /// When it was created.
    #[serde(alias = "created_at", deserialize_with = "lenient::opt_time")]
    pub created_at: Option<Timestamp>,
    /// The tags of its nodes.
    #[serde(alias = "acl_tags", deserialize_with = "lenient::or_default")]
    pub acl_tags: Vec<String>,
}

/// Which auth keys to list. Releases before 0.28 demanded a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ListPreAuthKeysQuery {
    /// Only the keys of this user.
    #[serde(deserialize_with = "opt_user", skip_serializing_if = "Option::is_none")]
    pub user: Option<UserRef>,
}

/// Auth keys, without their secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ListPreAuthKeysResponse {
    /// In order of their ids.
    #[serde(alias = "pre_auth_keys")]
    pub pre_auth_keys: Vec<PreAuthKey>,
}

/// An auth key to create. It needs a user or tags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CreatePreAuthKeyRequest {
    /// Who is to own the nodes.
    #[serde(deserialize_with = "opt_user", skip_serializing_if = "Option::is_none")]
    pub user: Option<UserRef>,
    /// Whether it lets in more than one node.
    #[serde(deserialize_with = "lenient::flag")]
    pub reusable: bool,
    /// Whether its nodes are deleted when they go offline.
    #[serde(deserialize_with = "lenient::flag")]
    pub ephemeral: bool,
    /// When it stops working; absent for never.
    #[serde(deserialize_with = "lenient::opt_time", skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Timestamp>,
    /// The tags of its nodes.
    #[serde(alias = "acl_tags", deserialize_with = "lenient::or_default")]
    pub acl_tags: Vec<String>,
}

/// The auth key that was created, with its secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CreatePreAuthKeyResponse {
    /// The key.
    #[serde(alias = "pre_auth_key")]
    pub pre_auth_key: PreAuthKey,
}

/// The auth key to expire: by id, or by the key itself as before 0.28. One of them is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExpirePreAuthKeyRequest {
    /// By id.
    #[serde(with = "lenient::OptId", skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// By the whole key, or by its masked form or prefix as lists show it.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "String::is_empty")]
    pub key: String,
}

/// The auth key to delete. An absent id is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["id"]))]
pub struct DeletePreAuthKeyQuery {
    /// By id.
    #[serde(with = "lenient::OptId", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "lenient::Id")]
    pub id: Option<u64>,
}
