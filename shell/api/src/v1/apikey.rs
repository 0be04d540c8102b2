//! API keys, which give access to this API over the network.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lenient;

/// An API key, without its secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ApiKey {
    /// The key's id.
    #[serde(with = "lenient::Id")]
    pub id: u64,
    /// The key's public prefix, masked: `hskey-api-<prefix>-***`.
    pub prefix: String,
    /// When the key expires; `null` for never.
    #[serde(deserialize_with = "lenient::opt_time")]
    pub expiration: Option<Timestamp>,
    /// When the key was created.
    #[serde(alias = "created_at", deserialize_with = "lenient::opt_time")]
    pub created_at: Option<Timestamp>,
    /// When the key was last used; `null` for never.
    #[serde(alias = "last_seen", deserialize_with = "lenient::opt_time")]
    pub last_seen: Option<Timestamp>,
}

/// A list of API keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ListApiKeysResponse {
    /// The keys, in order of id.
    #[serde(alias = "api_keys")]
    pub api_keys: Vec<ApiKey>,
}

/// Creates an API key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CreateApiKeyRequest {
    /// When the key expires; 90 days from now if absent.
    #[serde(deserialize_with = "lenient::opt_time", skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Timestamp>,
}

/// The API key that was created.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct CreateApiKeyResponse {
    /// The whole key, including its secret. No other response contains it.
    #[serde(alias = "api_key")]
    pub api_key: String,
}

/// Selects the API key to expire: by prefix or by id, but not both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExpireApiKeyRequest {
    /// The key's public prefix, alone or in the masked form that lists show.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// The key's id.
    #[serde(with = "lenient::OptId", skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
}

/// Selects the API key to delete by id instead of by prefix. The prefix in the path is then `-`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DeleteApiKeyQuery {
    /// The key's id.
    #[serde(with = "lenient::OptId", skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
}
