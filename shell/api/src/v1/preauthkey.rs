//! Pre-auth keys, which let nodes join without an interactive login.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::user::{User, UserRef, opt_user};
use crate::lenient;

/// A pre-auth key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PreAuthKey {
    /// The user who will own the nodes that join with the key; `null` for a tagged key.
    pub user: Option<User>,
    /// The key's id.
    #[serde(with = "lenient::Id")]
    pub id: u64,
    /// The whole key in the response to its creation, otherwise masked: `hskey-auth-<prefix>-***`.
    pub key: String,
    /// Whether more than one node may join with the key.
    pub reusable: bool,
    /// Whether nodes that joined with the key are deleted when they go offline.
    pub ephemeral: bool,
    /// Whether a node has joined with the key.
    pub used: bool,
    /// When the key expires; `null` for never.
    #[serde(deserialize_with = "lenient::opt_time")]
    pub expiration: Option<Timestamp>,
    /// When the key was created.
    #[serde(alias = "created_at", deserialize_with = "lenient::opt_time")]
    pub created_at: Option<Timestamp>,
    /// Tags for the nodes that join with the key.
    #[serde(alias = "acl_tags", deserialize_with = "lenient::or_default")]
    pub acl_tags: Vec<String>,
}

/// Selects the pre-auth keys to list. Headscale before 0.28 required a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ListPreAuthKeysQuery {
    /// Only the keys of this user.
    #[serde(deserialize_with = "opt_user", skip_serializing_if = "Option::is_none")]
    pub user: Option<UserRef>,
}

/// A list of pre-auth keys, without their secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ListPreAuthKeysResponse {
    /// The keys, in order of id.
    #[serde(alias = "pre_auth_keys")]
    pub pre_auth_keys: Vec<PreAuthKey>,
}

/// Creates a pre-auth key, which needs a user or tags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CreatePreAuthKeyRequest {
    /// The user who will own the nodes.
    #[serde(deserialize_with = "opt_user", skip_serializing_if = "Option::is_none")]
    pub user: Option<UserRef>,
    /// Whether more than one node may join with the key.
    #[serde(deserialize_with = "lenient::flag")]
    pub reusable: bool,
    /// Whether nodes that joined with the key are deleted when they go offline.
    #[serde(deserialize_with = "lenient::flag")]
    pub ephemeral: bool,
    /// When the key expires; one hour from now if absent.
    #[serde(deserialize_with = "lenient::opt_time", skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Timestamp>,
    /// Tags for the nodes that join with the key.
    #[serde(alias = "acl_tags", deserialize_with = "lenient::or_default")]
    pub acl_tags: Vec<String>,
}

/// The pre-auth key that was created, with its secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CreatePreAuthKeyResponse {
    /// The key, including its secret.
    #[serde(alias = "pre_auth_key")]
    pub pre_auth_key: PreAuthKey,
}

/// Selects the pre-auth key to expire: by id, or by the key itself as in Headscale before 0.28. One of the two is required.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExpirePreAuthKeyRequest {
    /// The key's id.
    #[serde(with = "lenient::OptId", skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// The whole key, its masked form as lists show it, or its prefix.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "String::is_empty")]
    pub key: String,
}

/// Selects the pre-auth key to delete. The id is required.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["id"]))]
pub struct DeletePreAuthKeyQuery {
    /// The key's id.
    #[serde(with = "lenient::OptId", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "lenient::Id")]
    pub id: Option<u64>,
}
