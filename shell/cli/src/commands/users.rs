//! `users`

use clap::{Args, Subcommand};
use headsail_api::UserRef;
use headsail_api::v1::user::{CreateUserRequest, ListUsersQuery, SetRoleRequest, User};
use serde_json::json;

use super::{Ctx, resolve};
use crate::flags::id;
use crate::output::Outcome;
use crate::output::{self, Answer, Failure, Table};
use crate::prompt;

#[derive(Debug, Args)]
pub struct UsersArgs {
    #[command(subcommand)]
    pub command: UsersCommand,
}

#[derive(Debug, Subcommand)]
pub enum UsersCommand {
    /// Create a user
    #[command(visible_aliases = ["c", "new"])]
    Create {
        /// The user's unique name
        name: String,
        /// Display name
        #[arg(short, long, default_value = "", hide_default_value = true)]
        display_name: String,
        /// E-mail address
        #[arg(short, long, default_value = "", hide_default_value = true)]
        email: String,
        /// URL of a profile picture
        #[arg(short, long, value_name = "URL", default_value = "", hide_default_value = true, value_parser = url)]
        picture_url: String,
    },
    /// List users
    #[command(visible_aliases = ["ls", "show"])]
    List {
        /// Only the user with this id
        #[arg(short, long, value_name = "ID", value_parser = id, allow_negative_numbers = true)]
        identifier: Option<u64>,
        /// Only users with this name
        #[arg(short, long)]
        name: Option<String>,
        /// Only users with this e-mail address
        #[arg(short, long)]
        email: Option<String>,
    },
    /// Delete a user who owns no nodes
    #[command(visible_alias = "delete")]
    Destroy {
        #[command(flatten)]
        who: UserFlags,
        /// The user's name, id or e-mail address
        #[arg(value_name = "USER", conflicts_with_all = ["identifier", "name"])]
        user: Option<UserRef>,
    },
    /// Rename a user
    #[command(visible_alias = "mv")]
    Rename {
        #[command(flatten)]
        who: UserFlags,
        /// The new name
        #[arg(short = 'r', long, value_name = "NAME")]
        new_name: Option<String>,
        /// The user's name or id and the new name, unless given by flags
        #[arg(value_name = "USER NEW_NAME", num_args = 0..=2)]
        words: Vec<String>,
    },
    /// Set a user's role: member, auditor, billing-admin, network-admin, it-admin, admin or owner
    #[command(visible_alias = "set-role")]
    Role {
        #[command(flatten)]
        who: UserFlags,
        /// The user's name or id, unless given by a flag, and the role
        #[arg(value_name = "USER ROLE", num_args = 1..=2, required = true)]
        words: Vec<String>,
    },
}

/// The flags that select a user.
#[derive(Debug, Args)]
pub struct UserFlags {
    /// The user's id
    #[arg(short, long, value_name = "ID", value_parser = id, allow_negative_numbers = true)]
    pub identifier: Option<u64>,
    /// The user's name
    #[arg(short, long, conflicts_with = "identifier")]
    pub name: Option<String>,
}

impl UserFlags {
    /// The user, if a flag names one.
    fn user(self) -> Option<UserRef> {
        self.identifier.map(UserRef::Id).or(self.name.map(UserRef::Name))
    }
}

fn url(text: &str) -> Result<String, String> {
    match text.split_once("://") {
        Some(("http" | "https", rest)) if !rest.is_empty() => Ok(text.to_owned()),
        _ if text.is_empty() => Ok(String::new()),
        _ => Err(format!("`{text}` is not the URL of a picture; write it like https://example.com/me.png")),
    }
}

const NO_USER: &str = "specify a user: by name, with --name or with --identifier";

pub async fn run(command: UsersCommand, ctx: &Ctx) -> Outcome {
    match command {
        UsersCommand::Create { name, display_name, email, picture_url } => {
            let request = CreateUserRequest { name, display_name, email, picture_url };
            let user = ctx.client.create_user(&request).await?.user;
            Ok(Answer::new(&user, format!("User `{}` was created with id {}.", user.name, user.id)))
        }
        UsersCommand::List { identifier, name, email } => {
            let (name, email) = (name.unwrap_or_default(), email.unwrap_or_default());
            let users = ctx.client.list_users(&ListUsersQuery { id: identifier, name, email }).await?.users;
            Ok(Answer::new(&users, table(&users)))
        }
        UsersCommand::Destroy { who, user } => {
            let wanted = who.user().or(user).ok_or_else(|| Failure::new(NO_USER))?;
            destroy(ctx, &wanted).await
        }
        UsersCommand::Rename { who, new_name, words } => {
            let (wanted, new_name) = renaming(who, new_name, words)?;
            let id = resolve::user_id(ctx, &wanted).await?;
            let user = ctx.client.rename_user(id, &new_name).await?.user;
            Ok(Answer::new(&user, format!("User `{wanted}` was renamed to `{}`.", user.name)))
        }
        UsersCommand::Role { who, words } => {
            let (wanted, role) = role_of(who, words)?;
            let id = resolve::user_id(ctx, &wanted).await?;
            let user = ctx.client.set_role(id, &SetRoleRequest { role: role.clone() }).await?.user;
            Ok(Answer::new(&user, format!("The role of user `{}` is now `{role}`.", user.name)))
        }
    }
}

/// The user and role from flags and words: `role USER ROLE` or `role -i 1 ROLE`.
fn role_of(who: UserFlags, words: Vec<String>) -> Result<(UserRef, String), Failure> {
    let mut words = words.into_iter();
    let wanted = match who.user() {
        Some(user) => user,
        None if words.len() == 1 => return Err(Failure::new(NO_USER)),
        None => words.next().and_then(|w| w.parse().ok()).ok_or_else(|| Failure::new(NO_USER))?,
    };
    match (words.next(), words.next()) {
        (Some(role), None) => Ok((wanted, role)),
        _ => Err(Failure::new("give the user once and the role once, as in `users role alice admin`")),
    }
}

async fn destroy(ctx: &Ctx, wanted: &UserRef) -> Outcome {
    let user = resolve::user(ctx, wanted).await?;
    let question = format!("Delete user `{}` ({}) and its pre-auth keys?", user.name, user.id);
    if !prompt::confirm(&question, ctx.force)? {
        return Ok(Answer::new(&json!({ "Result": "User not destroyed" }), "Nothing was deleted."));
    }
    let done = ctx.client.delete_user(user.id).await?;
    Ok(Answer::new(&done, format!("User `{}` deleted.", user.name)))
}

/// The user and new name from flags and words: `rename OLD NEW`, `rename -i 1 -r NEW`, or one of each.
fn renaming(
    who: UserFlags,
    new_name: Option<String>,
    words: Vec<String>,
) -> Result<(UserRef, String), Failure> {
    let mut words = words.into_iter();
    let wanted = match who.user() {
        Some(user) => user,
        None => words.next().and_then(|w| w.parse().ok()).ok_or_else(|| Failure::new(NO_USER))?,
    };
    match (new_name, words.next(), words.next()) {
        (Some(name), None, None) | (None, Some(name), None) => Ok((wanted, name)),
        (None, None, None) => {
            Err(Failure::new("specify the new name: as the last argument or with --new-name"))
        }
        _ => Err(Failure::new("too many names: give the user once and the new name once")),
    }
}

fn table(users: &[User]) -> Table {
    let cells = |u: &User| {
        [
            u.id.into(),
            (&u.display_name).into(),
            (&u.name).into(),
            (&u.email).into(),
            output::time(u.created_at).into(),
        ]
    };
    // Scripts expect the columns of Headscale, which has no roles.
    if users.iter().all(|u| u.role.is_empty()) {
        let mut table = Table::new(["ID", "Name", "Username", "Email", "Created"]);
        users.iter().for_each(|u| table.row(cells(u)));
        return table;
    }
    let mut table = Table::new(["ID", "Name", "Username", "Email", "Created", "Role"]);
    for u in users {
        let [id, name, username, email, created] = cells(u);
        let role = if u.role.is_empty() { "member" } else { &u.role };
        table.row([id, name, username, email, created, role.into()]);
    }
    table
}
