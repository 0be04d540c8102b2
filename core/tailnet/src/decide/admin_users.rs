//! Users are created, renamed and deleted, and get roles.

use std::sync::Arc;

use headsail_policy::Role;
use headsail_wire::ids::UserId;
use headsail_wire::time::Time;

use crate::change::{Change, Sequence};
use crate::command::{NewUser, Rejection};
use crate::decide::admin_keys::without_auth_keys;
use crate::decide::policy;
use crate::model::user::User;
use crate::tailnet::Tailnet;

pub(super) fn create(t: &Tailnet, new: &NewUser, now: Time) -> Result<Vec<Change>, Rejection> {
    User::check_name(&new.name).map_err(Rejection::Invalid)?;
    User::check_shown(&new.display_name, &new.email, &new.picture_url).map_err(Rejection::Invalid)?;
    free(t, &new.name)?;
    let id = UserId::new(t.next_id(Sequence::Users))
        .ok_or_else(|| Rejection::Full("there are no user ids left".into()))?;
    Ok(vec![Change::User(Arc::new(User {
        id,
        name: new.name.clone(),
        display_name: new.display_name.clone(),
        email: new.email.clone(),
        provider: String::new(),
        provider_id: String::new(),
        picture_url: new.picture_url.clone(),
        role: Role::Member,
        created: now,
    }))])
}

fn free(t: &Tailnet, name: &str) -> Result<(), Rejection> {
    match t.users().any(|u| u.name == name && u.provider_id.is_empty()) {
        true => Err(Rejection::Conflict(format!("a user named `{name}` already exists"))),
        false => Ok(()),
    }
}

fn known(t: &Tailnet, id: UserId) -> Result<&Arc<User>, Rejection> {
    t.user(id).ok_or_else(|| Rejection::no_user(id))
}

pub(super) fn rename(t: &Tailnet, id: UserId, name: &str) -> Result<Vec<Change>, Rejection> {
    let user = known(t, id)?;
    User::check_name(name).map_err(Rejection::Invalid)?;
    if user.name == name {
        return Ok(Vec::new());
    }
    free(t, name)?;
    Ok(changed(t, User { name: name.to_owned(), ..User::clone(user) }))
}

/// The changed user, and the routes that the policy now approves because of the change.
fn changed(t: &Tailnet, user: User) -> Vec<Change> {
    let approved = match policy::holds(t) {
        true => policy::approvals(t, &t.access().engine_with_user(&user)),
        false => Vec::new(),
    };
    std::iter::once(Change::User(Arc::new(user))).chain(approved).collect()
}

pub(super) fn set_role(t: &Tailnet, id: UserId, role: Role) -> Result<Vec<Change>, Rejection> {
    let user = known(t, id)?;
    if user.role == role {
        return Ok(Vec::new());
    }
    if role == Role::Owner
        && let Some(owner) = t.users().find(|u| u.role == Role::Owner)
    {
        return Err(Rejection::Conflict(format!(
            "user `{}` is the owner of the tailnet, which can have only one; give `{}` another role first",
            owner.name, owner.name
        )));
    }
    Ok(changed(t, User { role, ..User::clone(user) }))
}

pub(super) fn destroy(t: &Tailnet, id: UserId) -> Result<Vec<Change>, Rejection> {
    let user = known(t, id)?;
    let owned = t.nodes().filter(|n| n.owner.user() == Some(id)).count();
    if owned > 0 {
        return Err(Rejection::Conflict(format!(
            "user `{}` still owns {owned} node(s); delete them or log them in as another user first",
            user.name
        )));
    }
    let keys = t.auth_keys().filter(|k| k.user == Some(id)).map(|k| k.id).collect();
    let mut changes = without_auth_keys(t, &keys);
    changes.push(Change::UserGone(id));
    Ok(changes)
}
