//! Pre-auth keys.

use axum::Json;
use headsail_api::Problem;
use headsail_api::v1::Empty;
use headsail_api::v1::preauthkey::{
    CreatePreAuthKeyRequest, CreatePreAuthKeyResponse, DeletePreAuthKeyQuery, ExpirePreAuthKeyRequest,
    ListPreAuthKeysQuery, ListPreAuthKeysResponse, PreAuthKey,
};
use headsail_tailnet::command::{Command, NewAuthKey};
use headsail_tailnet::model::key::{AUTH_KEY_PREFIX, mint};
use headsail_wire::ids::AuthKeyId;

use super::error::Refusal;
use super::read::Read;
use super::{Admin, Answer, key, user_of, view};
use crate::system::random;

/// Lifetime of a key if the request gives no expiration.
const DEFAULT_SECS: i64 = 3600;

/// [`headsail_api::paths::PREAUTHKEY_LIST`]
pub async fn list(admin: Admin, Read(query): Read<ListPreAuthKeysQuery>) -> Answer<ListPreAuthKeysResponse> {
    let t = admin.snapshot();
    let owner = query.user.map(|u| user_of(&t, &u).map(|u| u.id)).transpose()?;
    let keys = t.auth_keys().filter(|k| owner.is_none() || k.user == owner);
    Ok(Json(ListPreAuthKeysResponse { pre_auth_keys: keys.map(|k| view::auth_key(&t, k)).collect() }))
}

/// [`headsail_api::paths::PREAUTHKEY_CREATE`]
pub async fn create(
    admin: Admin,
    Read(r): Read<CreatePreAuthKeyRequest>,
) -> Answer<CreatePreAuthKeyResponse> {
    let user = r.user.map(|u| user_of(&admin.snapshot(), &u).map(|u| u.id)).transpose()?;
    let new = mint(AUTH_KEY_PREFIX, &random::bytes());
    let expiration = key::expiration(r.expiration, DEFAULT_SECS)?;
    let command = Command::CreateAuthKey(Box::new(NewAuthKey {
        prefix: new.prefix.clone(),
        digest: new.digest,
        user,
        tags: r.acl_tags.into_iter().collect(),
        reusable: r.reusable,
        ephemeral: r.ephemeral,
        expiration: Some(expiration),
    }));
    let t = admin.submit(command).await?;
    let row = t.auth_key_by_prefix(&new.prefix);
    let row = row.ok_or_else(|| Problem::internal("the new key was deleted by another request"))?;
    let pre_auth_key = PreAuthKey { key: new.text, ..view::auth_key(&t, row) };
    Ok(Json(CreatePreAuthKeyResponse { pre_auth_key }))
}

/// [`headsail_api::paths::PREAUTHKEY_EXPIRE`]
pub async fn expire(admin: Admin, Read(r): Read<ExpirePreAuthKeyRequest>) -> Answer<Empty> {
    let id = match r.id {
        Some(id) => known(id)?,
        None if r.key.is_empty() => {
            return Err(Problem::bad_request("`id` is missing: specify which pre-auth key").into());
        }
        None => {
            let t = admin.snapshot();
            let row = t.auth_key_by_prefix(key::public_part(AUTH_KEY_PREFIX, &r.key));
            row.ok_or_else(|| Problem::not_found("there is no such pre-auth key"))?.id
        }
    };
    admin.submit(Command::ExpireAuthKey(id)).await?;
    Ok(Json(Empty {}))
}

/// [`headsail_api::paths::PREAUTHKEY_DELETE`]
pub async fn delete(admin: Admin, Read(r): Read<DeletePreAuthKeyQuery>) -> Answer<Empty> {
    let id = r.id.ok_or_else(|| Problem::bad_request("`id` is missing: specify which pre-auth key"))?;
    admin.submit(Command::DeleteAuthKey(known(id)?)).await?;
    Ok(Json(Empty {}))
}

fn known(id: u64) -> Result<AuthKeyId, Refusal> {
    AuthKeyId::new(id)
        .ok_or_else(|| Problem::not_found(format!("there is no pre-auth key with id `{id}`")).into())
}
