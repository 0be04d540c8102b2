//! Resolves the names, addresses and e-mail addresses that people type to users and node ids.

use headsail_api::UserRef;
use headsail_api::v1::node::{ListNodesQuery, Node};
use headsail_api::v1::user::{ListUsersQuery, User};

use super::Ctx;
use crate::output::Failure;

/// The user with this id, name or e-mail address.
pub async fn user(ctx: &Ctx, wanted: &UserRef) -> Result<User, Failure> {
    let users = ctx.client.list_users(&ListUsersQuery::default()).await?.users;
    let matches = |u: &User| match wanted {
        UserRef::Id(id) => u.id == *id,
        UserRef::Name(name) => u.name == *name || (u.email == *name && !name.is_empty()),
    };
    let mut found: Vec<User> = users.into_iter().filter(matches).collect();
    match (found.pop(), found.len()) {
        (Some(user), 0) => Ok(user),
        (Some(_), others) => Err(Failure::new(format!(
            "{} users match `{wanted}`; specify one by id (see `users list`)",
            others + 1
        ))),
        (None, _) => Err(Failure::new(format!("there is no user `{wanted}`; see `users list`"))),
    }
}

/// The id of a user. Sends a request only to look up a name.
pub async fn user_id(ctx: &Ctx, wanted: &UserRef) -> Result<u64, Failure> {
    match wanted {
        UserRef::Id(id) => Ok(*id),
        UserRef::Name(_) => Ok(user(ctx, wanted).await?.id),
    }
}

/// The name of a user. Sends a request only to look up an id.
pub async fn user_name(ctx: &Ctx, wanted: &UserRef) -> Result<String, Failure> {
    match wanted {
        UserRef::Id(_) => Ok(user(ctx, wanted).await?.name),
        UserRef::Name(name) => Ok(name.clone()),
    }
}

/// The id of the node with this id, name or address. Sends a request only if it is not an id.
pub async fn node_id(ctx: &Ctx, wanted: &str) -> Result<u64, Failure> {
    if let Ok(id) = wanted.parse() {
        return Ok(id);
    }
    let nodes = ctx.client.list_nodes(&ListNodesQuery::default()).await?.nodes;
    let named = |n: &&Node| n.given_name == wanted || n.ip_addresses.iter().any(|ip| ip == wanted);
    match nodes.iter().find(named) {
        Some(node) => Ok(node.id),
        None => Err(Failure::new(format!("there is no node `{wanted}`; see `nodes list`"))),
    }
}
