//! The welcome text of a server without a configuration file: how a machine joins.

use std::collections::BTreeSet;
use std::io::{self, Write};

use headsail_tailnet::actor::Actor;
use headsail_tailnet::command::{Command, NewAuthKey, NewUser};
use headsail_tailnet::model::key::{AUTH_KEY_PREFIX, AuthKey, mint};
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::time::Time;

use crate::app::TailnetService;
use crate::clerk::Failure;
use crate::config::{self, Config};
use crate::login::devices::shell_word;
use crate::start::ServeError;
use crate::system::{clock, random};

/// The user that is created if there are none.
const FIRST_USER: &str = "default";
/// How long the printed key is valid, in seconds.
const KEY_SECS: i64 = 3600;

/// Logs that the server is ready. If it runs on the built-in defaults, prints the complete command for a machine to
/// join.
///
/// # Errors
/// The key could not be saved.
pub async fn greet(settings: &Config, tailnet: &TailnetService) -> Result<(), ServeError> {
    if settings.file.is_some() {
        tracing::info!("ready for clients at {}", settings.server_url.text);
        return Ok(());
    }
    let (user, key) = first_key(tailnet).await.map_err(|f| match f {
        Failure::Rejected(r) => r.text(),
        Failure::Fault(text) => text,
    })?;
    let url = shell_word(&settings.server_url.text);
    let another = format!("headsail{} preauthkeys create --user {user}", data_dir_flag(settings));
    let text = format!(
        "\nHeadsail is ready. On a machine with Tailscale (1.86 or later), run:\n\n\
         \x20   tailscale up --login-server {url} --auth-key {key}\n\n\
         The key is valid for one hour and any number of machines. To create another one, run:\n\n\
         \x20   {another}\n\n"
    );
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        tracing::warn!(
            "cannot print the welcome text with the pre-auth key: {error}; create a key with `{another}`"
        );
    }
    Ok(())
}

/// The flag that the command line needs to find this server, if any.
fn data_dir_flag(settings: &Config) -> String {
    let default = config::default_data_dir(&config::process_env());
    let ours = &settings.data_dir;
    let is_default = std::path::absolute(&default).is_ok_and(|default| default == *ours);
    if is_default { String::new() } else { format!(" --data-dir {}", ours.display()) }
}

/// Creates a key and returns its user and its text. Deletes the keys of earlier welcome texts that expired unused.
async fn first_key(tailnet: &TailnetService) -> Result<(String, String), Failure> {
    let snapshot = tailnet.clerk.snapshot();
    let first = |t: &Tailnet| t.users().find(|u| u.name == FIRST_USER).or_else(|| t.users().next()).cloned();
    let user = match first(&snapshot) {
        Some(user) => user,
        None => {
            let new = NewUser { name: FIRST_USER.into(), ..NewUser::default() };
            let snapshot = tailnet.clerk.submit(Actor::Server, Command::CreateUser(new)).await?;
            first(&snapshot).ok_or_else(|| {
                Failure::Fault("the first user was deleted right after it was created".into())
            })?
        }
    };
    let now = clock::now();
    let is_ours = |k: &AuthKey| user.name == FIRST_USER && k.user == Some(user.id);
    for key in snapshot.auth_keys().filter(|k| is_ours(k) && is_expired_welcome_key(k, now)) {
        tailnet.clerk.submit(Actor::Server, Command::DeleteAuthKey(key.id)).await?;
    }
    let key = mint(AUTH_KEY_PREFIX, &random::bytes());
    let new = NewAuthKey {
        prefix: key.prefix,
        digest: key.digest,
        user: Some(user.id),
        tags: BTreeSet::new(),
        reusable: true,
        ephemeral: false,
        expiration: Some(now.plus_secs(KEY_SECS)),
    };
    tailnet.clerk.submit(Actor::Server, Command::CreateAuthKey(Box::new(new))).await?;
    Ok((user.name.clone(), key.text))
}

/// Whether a key looks like that of a welcome text and expired unused.
fn is_expired_welcome_key(key: &AuthKey, now: Time) -> bool {
    let expired = key.expiration.is_some_and(|at| at <= now && at <= key.created.plus_secs(KEY_SECS));
    expired && key.reusable && !key.used && !key.ephemeral && key.tags.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn the_key_belongs_to_the_user_that_is_printed() {
        let tailnet = testing::tailnet();
        let (user, _) = first_key(&tailnet).await.unwrap();
        assert_eq!(user, FIRST_USER);
        let tailnet = testing::tailnet();
        let alice = testing::user(&tailnet, "alice").await;
        let (user, _) = first_key(&tailnet).await.unwrap();
        assert_eq!(user, "alice");
        assert!(tailnet.clerk.snapshot().auth_keys().all(|k| k.user == Some(alice)));
    }

    #[tokio::test]
    async fn unused_expired_welcome_keys_are_deleted() {
        let tailnet = testing::tailnet();
        let keys = || tailnet.clerk.snapshot().auth_keys().map(|k| k.id).collect::<Vec<_>>();
        first_key(&tailnet).await.unwrap();
        first_key(&tailnet).await.unwrap();
        let [expired, valid] = keys()[..] else { panic!("both are valid for an hour") };
        testing::submit(&tailnet, Command::ExpireAuthKey(expired)).await;
        first_key(&tailnet).await.unwrap();
        let left = keys();
        assert!(left.len() == 2 && left.contains(&valid) && !left.contains(&expired), "{left:?}");
        // A used key is kept.
        let (_, text) = first_key(&tailnet).await.unwrap();
        testing::registers(&tailnet, 1, serde_json::json!({ "Auth": { "AuthKey": text } })).await;
        let used = tailnet.clerk.snapshot().auth_keys().find(|k| k.used).unwrap().id;
        testing::submit(&tailnet, Command::ExpireAuthKey(used)).await;
        first_key(&tailnet).await.unwrap();
        assert!(keys().contains(&used));
    }
}
