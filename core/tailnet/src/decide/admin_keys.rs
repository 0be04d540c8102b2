//! Pre-auth keys and API keys are created, expired and deleted.

use std::collections::BTreeSet;
use std::sync::Arc;

use headsail_wire::ids::{ApiKeyId, AuthKeyId};
use headsail_wire::time::Time;

use crate::change::{Change, Sequence};
use crate::command::{NewAuthKey, Rejection};
use crate::decide::admin_nodes::check_tag;
use crate::model::key::{ApiKey, AuthKey, KeyDigest};
use crate::model::node::Node;
use crate::tailnet::Tailnet;

/// Minimum seconds between two updates of when an API key was last used.
const NOTE_USE_SECS: i64 = 60;

pub(super) fn create_auth_key(t: &Tailnet, new: &NewAuthKey, now: Time) -> Result<Vec<Change>, Rejection> {
    for tag in &new.tags {
        check_tag(tag)?;
    }
    match new.user {
        None if new.tags.is_empty() => {
            return Err(Rejection::Invalid("a pre-auth key needs a user or tags".into()));
        }
        Some(user) if t.user(user).is_none() => {
            return Err(Rejection::no_user(user));
        }
        _ => {}
    }
    let id = AuthKeyId::new(t.next_id(Sequence::AuthKeys))
        .ok_or_else(|| Rejection::Full("no more key ids are available".into()))?;
    Ok(vec![Change::AuthKey(Arc::new(AuthKey {
        id,
        prefix: new.prefix.clone(),
        digest: new.digest,
        user: new.user,
        tags: new.tags.clone(),
        reusable: new.reusable,
        ephemeral: new.ephemeral,
        used: false,
        expiration: new.expiration,
        created: now,
    }))])
}

fn auth_key(t: &Tailnet, id: AuthKeyId) -> Result<&Arc<AuthKey>, Rejection> {
    t.auth_key(id).ok_or_else(|| Rejection::no_auth_key(id))
}

pub(super) fn expire_auth_key(t: &Tailnet, id: AuthKeyId, now: Time) -> Result<Vec<Change>, Rejection> {
    let key = auth_key(t, id)?;
    if key.expiration.is_some_and(|at| at <= now) {
        return Ok(Vec::new());
    }
    Ok(vec![Change::AuthKey(Arc::new(AuthKey { expiration: Some(now), ..AuthKey::clone(key) }))])
}

pub(super) fn delete_auth_key(t: &Tailnet, id: AuthKeyId) -> Result<Vec<Change>, Rejection> {
    auth_key(t, id)?;
    Ok(without_auth_keys(t, &BTreeSet::from([id])))
}

/// Deletes keys. The nodes that registered with them stay, without a reference to their key.
pub(super) fn without_auth_keys(t: &Tailnet, keys: &BTreeSet<AuthKeyId>) -> Vec<Change> {
    let nodes = t.nodes().filter(|n| n.auth_key.is_some_and(|key| keys.contains(&key)));
    let freed = nodes.map(|n| Change::Node(Arc::new(Node { auth_key: None, ..Node::clone(n) })));
    freed.chain(keys.iter().map(|key| Change::AuthKeyGone(*key))).collect()
}

pub(super) fn create_api_key(
    t: &Tailnet,
    prefix: &str,
    digest: KeyDigest,
    expiration: Option<Time>,
    now: Time,
) -> Result<Vec<Change>, Rejection> {
    let id = ApiKeyId::new(t.next_id(Sequence::ApiKeys))
        .ok_or_else(|| Rejection::Full("no more key ids are available".into()))?;
    Ok(vec![Change::ApiKey(Arc::new(ApiKey {
        id,
        prefix: prefix.to_owned(),
        digest,
        expiration,
        created: now,
        last_seen: None,
    }))])
}

fn api_key(t: &Tailnet, id: ApiKeyId) -> Result<&Arc<ApiKey>, Rejection> {
    t.api_key(id).ok_or_else(|| Rejection::no_api_key(id))
}

pub(super) fn expire_api_key(t: &Tailnet, id: ApiKeyId, now: Time) -> Result<Vec<Change>, Rejection> {
    let key = api_key(t, id)?;
    Ok(vec![Change::ApiKey(Arc::new(ApiKey { expiration: Some(now), ..ApiKey::clone(key) }))])
}

pub(super) fn delete_api_key(t: &Tailnet, id: ApiKeyId) -> Result<Vec<Change>, Rejection> {
    api_key(t, id)?;
    Ok(vec![Change::ApiKeyGone(id)])
}

pub(super) fn api_key_used(t: &Tailnet, id: ApiKeyId, now: Time) -> Vec<Change> {
    match t.api_key(id) {
        Some(key) if key.last_seen.is_none_or(|seen| now >= seen.plus_secs(NOTE_USE_SECS)) => {
            vec![Change::ApiKey(Arc::new(ApiKey { last_seen: Some(now), ..ApiKey::clone(key) }))]
        }
        _ => Vec::new(),
    }
}
