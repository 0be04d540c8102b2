//! `preauthkeys`

use std::time::Duration;

use clap::{ArgAction, Args, Subcommand};
use headsail_api::v1::Empty;
use headsail_api::v1::preauthkey::{
    CreatePreAuthKeyRequest, ExpirePreAuthKeyRequest, ListPreAuthKeysQuery, PreAuthKey,
};
use headsail_api::{Timestamp, UserRef};

use super::{Ctx, resolve};
use crate::flags::{after, go_bool, id, lifetime};
use crate::output::Outcome;
use crate::output::{self, Answer, Cell, Failure, Table};

#[derive(Debug, Args)]
pub struct PreAuthKeysArgs {
    /// A user before the command, as in Headscale before 0.28
    #[arg(short = 'n', long = "namespace", short_alias = 'u', alias = "user", hide = true)]
    pub group_user: Option<UserRef>,
    #[command(subcommand)]
    pub command: PreAuthKeysCommand,
}

#[derive(Debug, Subcommand)]
pub enum PreAuthKeysCommand {
    /// List pre-auth keys, without their secrets
    #[command(visible_aliases = ["ls", "show"])]
    List {
        #[command(flatten)]
        owner: Owner,
    },
    /// Create a pre-auth key and print it; it is not shown again
    #[command(visible_aliases = ["c", "new"])]
    Create {
        #[command(flatten)]
        owner: Owner,
        /// Allow any number of nodes to join with this key
        #[arg(
            long, action = ArgAction::Set, value_parser = go_bool, num_args = 0..=1, require_equals = true,
            default_value = "false", default_missing_value = "true", hide_default_value = true,
            hide_possible_values = true
        )]
        reusable: bool,
        /// Delete nodes that joined with this key when they go offline
        #[arg(
            long, action = ArgAction::Set, value_parser = go_bool, num_args = 0..=1, require_equals = true,
            default_value = "false", default_missing_value = "true", hide_default_value = true,
            hide_possible_values = true
        )]
        ephemeral: bool,
        /// How long the key is valid, for example 30m, 24h or 90d
        #[arg(
            short, long, default_value = "1h", value_name = "DURATION", value_parser = lifetime,
            allow_hyphen_values = true
        )]
        expiration: Duration,
        /// Tags for nodes that join with this key, for example tag:web,tag:prod; a tagged key needs no user
        #[arg(long, value_delimiter = ',', value_name = "TAG")]
        tags: Vec<String>,
    },
    /// Expire a pre-auth key now
    #[command(visible_aliases = ["revoke", "exp", "e"])]
    Expire {
        /// The key's id
        #[arg(short, long, required_unless_present = "key", value_parser = id, allow_negative_numbers = true)]
        id: Option<u64>,
        #[command(flatten)]
        owner: Owner,
        /// The key itself, as in Headscale before 0.28
        #[arg(conflicts_with = "id", hide = true)]
        key: Option<String>,
    },
    /// Delete a pre-auth key
    #[command(visible_aliases = ["del", "rm", "d"])]
    Delete {
        /// The key's id
        #[arg(short, long, value_parser = id, allow_negative_numbers = true)]
        id: u64,
    },
}

#[derive(Debug, Args)]
pub struct Owner {
    /// The user's name or id
    #[arg(short, long, short_alias = 'n', alias = "namespace", allow_negative_numbers = true)]
    pub user: Option<UserRef>,
}

pub async fn run(args: PreAuthKeysArgs, ctx: &Ctx) -> Outcome {
    let group_user = args.group_user;
    match args.command {
        PreAuthKeysCommand::List { owner } => list(ctx, owner.user.or(group_user)).await,
        PreAuthKeysCommand::Create { owner, reusable, ephemeral, expiration, tags } => {
            let user = match owner.user.or(group_user) {
                Some(user) => Some(UserRef::Id(resolve::user_id(ctx, &user).await?)),
                None if tags.is_empty() => {
                    return Err(Failure::new(
                        "a pre-auth key needs an owner: specify --user, or --tags for a tagged key",
                    ));
                }
                None => None,
            };
            let expiration = Some(after(expiration)?);
            let request = CreatePreAuthKeyRequest { user, reusable, ephemeral, expiration, acl_tags: tags };
            let key = ctx.client.create_pre_auth_key(&request).await?.pre_auth_key;
            Ok(Answer::new(&key, key.key.clone()))
        }
        PreAuthKeysCommand::Expire { id, key, .. } => {
            let key = key.unwrap_or_default();
            let done = ctx.client.expire_pre_auth_key(&ExpirePreAuthKeyRequest { id, key }).await?;
            Ok(Answer::new(&done, "The pre-auth key was expired."))
        }
        PreAuthKeysCommand::Delete { id } => {
            let done: Empty = ctx.client.delete_pre_auth_key(id).await?;
            Ok(Answer::new(&done, "The pre-auth key was deleted."))
        }
    }
}

async fn list(ctx: &Ctx, user: Option<UserRef>) -> Outcome {
    let mut keys = ctx.client.list_pre_auth_keys(&ListPreAuthKeysQuery::default()).await?.pre_auth_keys;
    if let Some(user) = user {
        let id = resolve::user_id(ctx, &user).await?;
        keys.retain(|k| k.user.as_ref().is_some_and(|u| u.id == id));
    }
    Ok(Answer::new(&keys, table(&keys, Timestamp::now())))
}

fn table(keys: &[PreAuthKey], now: Timestamp) -> Table {
    let mut table =
        Table::new(["ID", "Key/Prefix", "Reusable", "Ephemeral", "Used", "Expiration", "Created", "Owner"]);
    for k in keys {
        let owner = match (&k.user, k.acl_tags.as_slice()) {
            (_, [_, ..]) => Cell::list(&k.acl_tags),
            (Some(user), []) => (&user.name).into(),
            (None, []) => "-".into(),
        };
        table.row([
            k.id.into(),
            (&k.key).into(),
            k.reusable.into(),
            k.ephemeral.into(),
            k.used.into(),
            output::deadline(k.expiration, now),
            output::time(k.created_at).into(),
            owner,
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use headsail_api::v1::user::User;

    use super::*;

    #[test]
    fn the_key_table_marks_expired_keys_and_lists_tags() {
        let key = PreAuthKey {
            id: 1,
            key: "hskey-auth-abc-***".into(),
            user: Some(User { name: "alice".into(), ..User::default() }),
            reusable: true,
            expiration: "2026-01-31T12:00:00Z".parse().ok(),
            ..PreAuthKey::default()
        };
        let tagged =
            PreAuthKey { id: 2, acl_tags: vec!["tag:a".into(), "tag:b".into()], ..PreAuthKey::default() };
        let shown = table(&[key, tagged], "2026-02-01T00:00:00Z".parse().unwrap()).to_string();
        assert!(shown.contains("\u{1b}[31m2026-01-31 12:00:00"), "an expired key is red: {shown}");
        let plain = anstream::adapter::strip_str(&shown).to_string();
        assert_eq!(
            plain,
            "ID | Key/Prefix         | Reusable | Ephemeral | Used  | Expiration          | Created | Owner\n\
             1  | hskey-auth-abc-*** | true     | false     | false | 2026-01-31 12:00:00 | -       | alice\n\
             2  |                    | false    | false     | false | -                   | -       | tag:a\n   \
                |                    |          |           |       |                     |         | tag:b\n"
        );
    }
}
