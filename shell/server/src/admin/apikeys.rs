//! API keys.

use axum::Json;
use axum::extract::Path;
use headsail_api::Problem;
use headsail_api::v1::Empty;
use headsail_api::v1::apikey::{
    CreateApiKeyRequest, CreateApiKeyResponse, DeleteApiKeyQuery, ExpireApiKeyRequest, ListApiKeysResponse,
};
use headsail_tailnet::command::Command;
use headsail_tailnet::model::key::{API_KEY_PREFIX, mint};
use headsail_wire::ids::ApiKeyId;

use super::error::Refusal;
use super::read::Read;
use super::{Admin, Answer, key, view};
use crate::system::random;

/// Lifetime of a key if the request gives no expiration.
const DEFAULT_SECS: i64 = 90 * 24 * 3600;

/// [`headsail_api::paths::APIKEY_LIST`]
pub async fn list(admin: Admin) -> Answer<ListApiKeysResponse> {
    let api_keys = admin.snapshot().api_keys().map(|k| view::api_key(k)).collect();
    Ok(Json(ListApiKeysResponse { api_keys }))
}

/// [`headsail_api::paths::APIKEY_CREATE`]
pub async fn create(admin: Admin, Read(r): Read<CreateApiKeyRequest>) -> Answer<CreateApiKeyResponse> {
    let new = mint(API_KEY_PREFIX, &random::bytes());
    let expiration = key::expiration(r.expiration, DEFAULT_SECS)?;
    let command =
        Command::CreateApiKey { prefix: new.prefix, digest: new.digest, expiration: Some(expiration) };
    admin.submit(command).await?;
    Ok(Json(CreateApiKeyResponse { api_key: new.text }))
}

/// [`headsail_api::paths::APIKEY_EXPIRE`]
pub async fn expire(admin: Admin, Read(r): Read<ExpireApiKeyRequest>) -> Answer<Empty> {
    let id = match (r.id, r.prefix.as_str()) {
        (Some(id), "") => by_id(id)?,
        (None, prefix) if !prefix.is_empty() => by_prefix(&admin, prefix)?,
        _ => return Err(Problem::bad_request("specify the API key by either `prefix` or `id`").into()),
    };
    admin.submit(Command::ExpireApiKey(id)).await?;
    Ok(Json(Empty {}))
}

/// [`headsail_api::paths::APIKEY_DELETE`]
pub async fn delete(
    admin: Admin,
    Path(prefix): Path<String>,
    Read(query): Read<DeleteApiKeyQuery>,
) -> Answer<Empty> {
    let id = match query.id {
        Some(id) => by_id(id)?,
        None => by_prefix(&admin, &prefix)?,
    };
    admin.submit(Command::DeleteApiKey(id)).await?;
    Ok(Json(Empty {}))
}

fn by_id(id: u64) -> Result<ApiKeyId, Refusal> {
    ApiKeyId::new(id).ok_or_else(|| Problem::not_found(format!("there is no API key with id `{id}`")).into())
}

fn by_prefix(admin: &Admin, prefix: &str) -> Result<ApiKeyId, Refusal> {
    let t = admin.snapshot();
    let prefix = key::public_part(API_KEY_PREFIX, prefix);
    let unknown = || Problem::not_found(format!("there is no API key with the prefix `{prefix}`"));
    Ok(t.api_key_by_prefix(prefix).ok_or_else(unknown)?.id)
}
