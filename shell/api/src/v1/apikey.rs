//! API keys, which let programs use this API over the network.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lenient;

/// An API key, without its secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ApiKey {
    /// Its id.
    #[serde(with = "lenient::Id")]
    pub id: u64,
    /// Its public part, masked: `hskey-api-<prefix>-***`.
    pub prefix: String,
    /// When it stops working; `null` for never.
    #[serde(deserialize_with = "lenient::opt_time")]
    pub expiration: Option<Timestamp>,
    /// When it was created.
    #[serde(alias = "created_at", deserialize_with = "lenient::opt_time")]
    pub created_at: Option<Timestamp>,
    /// When it was last used; `null` for never.
    #[serde(alias = "last_seen", deserialize_with = "lenient::opt_time")]
    pub last_seen: Option<Timestamp>,
}

/// API keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ListApiKeysResponse {
    /// In order of their ids.
    #[serde(alias = "api_keys")]
    pub api_keys: Vec<ApiKey>,
}

/// An API key to create.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CreateApiKeyRequest {
    /// When it stops working; absent for never.
    #[serde(deserialize_with = "lenient::opt_time", skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Timestamp>,
}

/// The API key that was created.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CreateApiKeyResponse {
    /// The whole key, shown once.
    #[serde(alias = "api_key")]
    pub api_key: String,
}

/// The API key to expire: by exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExpireApiKeyRequest {
    /// By its public part, bare or as lists show it.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// By id.
    #[serde(with = "lenient::OptId", skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
}

/// The API key to delete by id instead of by prefix; the prefix in the path then reads `-`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DeleteApiKeyQuery {
    /// By id.
    #[serde(with = "lenient::OptId", skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
}
