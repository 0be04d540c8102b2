//! What a start without any configuration says: how a machine joins.

use std::collections::BTreeSet;
use std::io::{self, Write};

use headsail_tailnet::actor::Actor;
use headsail_tailnet::command::{Command, NewAuthKey, NewUser};
use headsail_tailnet::model::key::{AUTH_KEY_PREFIX, AuthKey, mint};
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::time::Time;

use crate::app::TailnetService;
use crate::clerk::Failure;
use crate::config::{self, Settings};
use crate::login::devices::shell_word;
use crate::start::ServeError;
use crate::system::{clock, random};

/// The user that a tailnet without users gets.
const FIRST_USER: &str = "default";
/// Seconds that the printed key is good for.
const KEY_SECS: i64 = 3600;

/// Prints the whole command with which a machine joins, if the server runs on built-in defaults.
///
/// # Errors
/// The key could not be saved.
pub async fn greet(settings: &Settings, tailnet: &TailnetService) -> Result<(), ServeError> {
    if settings.file.is_some() {
        tracing::info!("ready: clients use {}", settings.server_url.text);
        return Ok(());
    }
    let (user, key) = first_key(tailnet).await.map_err(|f| match f {
        Failure::Rejected(r) => r.text(),
        Failure::Fault(text) => text,
    })?;
    let url = shell_word(&settings.server_url.text);
    let another = format!("headsail{} preauthkeys create --user {user}", where_to_look(settings));
    let text = format!(
        "\nHeadsail is ready. On a machine with Tailscale (1.86 or later), run:\n\n\
         \x20   tailscale up --login-server {url} --auth-key {key}\n\n\
         The key is good for one hour and for any number of machines. Another one:\n\
         \x20   {another}\n\n"
    );
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        tracing::warn!("how machines join could not be printed ({error}): make a key with `{another}`");
    }
    Ok(())
}

/// The flag with which the command line finds this server, where it needs one.
fn where_to_look(settings: &Settings) -> String {
    let usual = config::default_data_dir(&config::process_env());
    let ours = &settings.data_dir;
    let same = std::path::absolute(&usual).is_ok_and(|usual| usual == *ours);
    if same { String::new() } else { format!(" --data-dir {}", ours.display()) }
}

/// A new key, and the name of the user whose machines it lets in. Keys of former greetings that nobody used in time go.
async fn first_key(tailnet: &TailnetService) -> Result<(String, String), Failure> {
    let snapshot = tailnet.clerk.snapshot();
    let first = |t: &Tailnet| t.users().find(|u| u.name == FIRST_USER).or_else(|| t.users().next()).cloned();
    let user = match first(&snapshot) {
        Some(user) => user,
        None => {
            let new = NewUser { name: FIRST_USER.into(), ..NewUser::default() };
            let snapshot = tailnet.clerk.submit(Actor::Server, Command::CreateUser(new)).await?;
            first(&snapshot).ok_or_else(|| Failure::Fault("the first user is gone again".into()))?
        }
    };
    let now = clock::now();
    let is_ours = |k: &AuthKey| user.name == FIRST_USER && k.user == Some(user.id);
    for key in snapshot.auth_keys().filter(|k| is_ours(k) && is_spent_greeting(k, now)) {
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

/// Whether a key is like those of greetings, and its hour went by before anybody used it.
fn is_spent_greeting(key: &AuthKey, now: Time) -> bool {
    let brief = key.expiration.is_some_and(|at| at <= now && at <= key.created.plus_secs(KEY_SECS));
    brief && key.reusable && !key.used && !key.ephemeral && key.tags.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn the_key_goes_to_the_user_that_is_named() {
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
    async fn keys_of_greetings_that_nobody_used_go() {
        let tailnet = testing::tailnet();
        let keys = || tailnet.clerk.snapshot().auth_keys().map(|k| k.id).collect::<Vec<_>>();
        first_key(&tailnet).await.unwrap();
        first_key(&tailnet).await.unwrap();
        let [spent, fresh] = keys()[..] else { panic!("both are good for an hour") };
        testing::submit(&tailnet, Command::ExpireAuthKey(spent)).await;
        first_key(&tailnet).await.unwrap();
        let left = keys();
        assert!(left.len() == 2 && left.contains(&fresh) && !left.contains(&spent), "{left:?}");
        // One that let a machine in is remembered.
        let (_, text) = first_key(&tailnet).await.unwrap();
        testing::registers(&tailnet, 1, serde_json::json!({ "Auth": { "AuthKey": text } })).await;
        let used = tailnet.clerk.snapshot().auth_keys().find(|k| k.used).unwrap().id;
        testing::submit(&tailnet, Command::ExpireAuthKey(used)).await;
        first_key(&tailnet).await.unwrap();
        assert!(keys().contains(&used));
    }
}
