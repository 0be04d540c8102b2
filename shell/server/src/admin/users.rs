//! Users.

use std::str::FromStr;
use std::sync::Arc;

use axum::Json;
use axum::extract::Path;
use headsail_api::v1::Empty;
use headsail_api::v1::user::{
    CreateUserRequest, ListUsersQuery, ListUsersResponse, SetRoleRequest, UserResponse,
};
use headsail_api::{Problem, UserRef};
use headsail_tailnet::command::{Command, NewUser, Rejection};
use headsail_wire::ids::UserId;

use super::error::Refusal;
use super::read::Read;
use super::{Admin, Answer, user_of, view};
use crate::clerk::Failure;

/// [`headsail_api::paths::USER_LIST`]
pub async fn list(admin: Admin, Read(query): Read<ListUsersQuery>) -> Answer<ListUsersResponse> {
    let t = admin.snapshot();
    let fits = |u: &&Arc<headsail_tailnet::model::user::User>| {
        if !query.name.is_empty() {
            u.name == query.name
        } else if !query.email.is_empty() {
            u.email == query.email
        } else {
            query.id.is_none_or(|id| u.id.get() == id)
        }
    };
    Ok(Json(ListUsersResponse { users: t.users().filter(fits).map(|u| view::user(u)).collect() }))
}

/// [`headsail_api::paths::USER_CREATE`]
pub async fn create(admin: Admin, Read(r): Read<CreateUserRequest>) -> Answer<UserResponse> {
    let name = r.name.clone();
    let new =
        NewUser { name: r.name, display_name: r.display_name, email: r.email, picture_url: r.picture_url };
    let t = admin.submit(Command::CreateUser(new)).await.map_err(|failure| match failure {
        Failure::Rejected(Rejection::Conflict(why)) => Problem::conflict(why).into(),
        other => Refusal::from(other),
    })?;
    let user = t.users().find(|u| u.name == name && u.provider_id.is_empty());
    let user = user.ok_or_else(|| Problem::internal("the new user was deleted by another request"))?;
    Ok(Json(UserResponse { user: view::user(user) }))
}

/// [`headsail_api::paths::USER_DELETE`]
pub async fn delete(admin: Admin, Path(who): Path<String>) -> Answer<Empty> {
    admin.submit(Command::DestroyUser(named(&admin, &who)?)).await?;
    Ok(Json(Empty {}))
}

/// [`headsail_api::paths::USER_RENAME`]
pub async fn rename(admin: Admin, Path((who, name)): Path<(String, String)>) -> Answer<UserResponse> {
    let user = named(&admin, &who)?;
    let t = admin.submit(Command::RenameUser { user, name }).await?;
    let user = t.user(user).ok_or_else(|| Problem::not_found("the user was deleted by another request"))?;
    Ok(Json(UserResponse { user: view::user(user) }))
}

/// [`headsail_api::paths::USER_ROLE`]
pub async fn set_role(
    admin: Admin,
    Path(who): Path<String>,
    Read(r): Read<SetRoleRequest>,
) -> Answer<UserResponse> {
    let user = named(&admin, &who)?;
    let role = r.role.parse().map_err(Problem::bad_request)?;
    let t = admin.submit(Command::SetRole { user, role }).await?;
    let user = t.user(user).ok_or_else(|| Problem::not_found("the user was deleted by another request"))?;
    Ok(Json(UserResponse { user: view::user(user) }))
}

/// The id of the user that a path refers to.
fn named(admin: &Admin, who: &str) -> Result<UserId, Refusal> {
    let Ok(who) = UserRef::from_str(who);
    Ok(user_of(&admin.snapshot(), &who)?.id)
}
