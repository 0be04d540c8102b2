//! The policy file: loaded at startup, on SIGHUP, and when it changes.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use headsail_policy::{MAX_TEXT, render};
use headsail_tailnet::actor::Actor;
use headsail_tailnet::command::{Command, Rejection};
use headsail_tailnet::model::policy::PolicyRow;

use crate::clerk::{Clerk, Failure};
use crate::system::files::Watch;
use crate::system::{clock, files};

const MAX_FILE_BYTES: u64 = MAX_TEXT as u64;
/// How often the file is polled.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// Reads the policy at startup; `domains` are those of `policy.domains`. An invalid policy must prevent startup,
/// because without a policy every node could reach every other.
///
/// # Errors
/// The file cannot be read, or the policy is invalid; the message quotes the lines in question.
pub fn first(path: &Path, domains: &[String]) -> Result<PolicyRow, String> {
    let text = read(path)?;
    PolicyRow::parse(&text, domains, clock::now(), false).map_err(|refusal| {
        format!(
            "the policy is invalid:\n{}",
            render(&path.display().to_string(), &text, &refusal.diagnostics)
        )
    })
}

fn read(path: &Path) -> Result<String, String> {
    files::read_bounded(path, MAX_FILE_BYTES).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("cannot read policy `{}`: {error}", path.display())
}

/// Reads the policy again and puts it into effect. If it is invalid, that is logged and the previous policy stays in
/// effect.
pub async fn reload(clerk: &Clerk, path: &Path) {
    read_and_set(clerk, path, Fallback::PreviousPolicy).await;
}

/// Runs the tests of the policy that [`first`] returned and applies its auto-approvers. That policy stays in effect
/// even if its tests fail, because without it every node could reach every other.
pub async fn confirm(clerk: &Clerk, path: &Path) {
    read_and_set(clerk, path, Fallback::Nothing).await;
}

async fn read_and_set(clerk: &Clerk, path: &Path, fallback: Fallback) {
    let file = path.to_owned();
    let text = files::run_blocking(move || files::read_bounded(&file, MAX_FILE_BYTES)).await;
    // Problems are logged, and nothing is retried here: an administrator can send another SIGHUP.
    let _ = set(clerk, path, text, fallback).await;
}

/// What stays in effect if a policy is rejected.
#[derive(Clone, Copy)]
enum Fallback {
    PreviousPolicy,
    /// Startup: the rejected policy is in effect already.
    Nothing,
}

enum Outcome {
    InEffect,
    /// It cannot be read or is invalid.
    Rejected,
    /// The policy is valid, but the store failed.
    NotSaved,
}

async fn set(clerk: &Clerk, path: &Path, text: io::Result<String>, fallback: Fallback) -> Outcome {
    let shown = path.display();
    let text = match text {
        Ok(text) => text,
        Err(error) => {
            tracing::warn!("{}; the previous policy stays in effect", unreadable(path, &error));
            return Outcome::Rejected;
        }
    };
    let command = Command::SetPolicy { text: text.clone(), kept: false };
    match clerk.submit(Actor::File("policy".into()), command).await {
        Ok(_) => {
            tracing::info!("policy `{shown}` is in effect");
            Outcome::InEffect
        }
        Err(Failure::Rejected(rejection)) => {
            let why = match &rejection {
                Rejection::BadPolicy(findings) if !findings.diagnostics.is_empty() => {
                    format!("\n{}", render(&shown.to_string(), &text, &findings.diagnostics))
                }
                _ => format!(" {}", rejection.text()),
            };
            match fallback {
                Fallback::PreviousPolicy => {
                    tracing::warn!(
                        "policy `{shown}` was rejected, the previous policy stays in effect:{why}"
                    );
                }
                Fallback::Nothing => tracing::warn!(
                    "policy `{shown}` has problems; using it anyway, because there is no earlier policy to fall back to:{why}"
                ),
            }
            Outcome::Rejected
        }
        Err(Failure::Fault(why)) => {
            tracing::error!("cannot put policy `{shown}` into effect: {why}");
            Outcome::NotSaved
        }
    }
}

/// Watches the file for as long as the server runs. If the store fails, the policy is submitted again.
pub async fn watch(clerk: Clerk, path: PathBuf) {
    let mut watch = Watch::new(path.clone(), MAX_FILE_BYTES);
    let mut last = Outcome::InEffect;
    loop {
        let text = watch.next_change(WATCH_EVERY).await;
        let in_effect = |text: &String| clerk.snapshot().policy().is_some_and(|row| row.text() == text);
        // After a problem, the policy in effect is set again, so that the log says that it is.
        if matches!(last, Outcome::InEffect) && text.as_ref().is_ok_and(in_effect) {
            continue;
        }
        last = set(&clerk, &path, text, Fallback::PreviousPolicy).await;
        if let Outcome::NotSaved = last {
            watch.reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use headsail_store::Fault;
    use headsail_store::memory::MemoryStore;

    use super::*;
    use crate::testing;

    #[tokio::test(start_paused = true)]
    async fn a_valid_policy_takes_effect_after_missing_and_invalid_files_and_store_failures() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.hujson");
        let store = MemoryStore::default();
        // Each policy approves a route, which has to be saved.
        let app = testing::tailnet_over(store.clone());
        let alice = testing::user(&app, "alice").await;
        let node = testing::let_in(&app, 1, alice).await.0.id;
        let routes = ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"];
        let host = serde_json::json!({ "Hostinfo": { "Hostname": "web", "RoutableIPs": routes } });
        testing::registers(&app, 1, host).await;
        let policy =
            |n: usize| format!(r#"{{"autoApprovers": {{"routes": {{"10.{n}.0.0/16": ["alice@"]}}}}}}"#);
        tokio::spawn(watch(app.clerk.clone(), path.clone()));
        let takes_effect = async |text: &str| {
            // The clerk runs on a thread of its own, where time is not paused.
            let deadline = std::time::Instant::now() + Duration::from_secs(30);
            while app.clerk.snapshot().policy().is_none_or(|row| row.text() != text) {
                assert!(std::time::Instant::now() < deadline, "{text}");
                tokio::time::sleep(WATCH_EVERY).await;
            }
        };
        // At first there is no file; then it is replaced each time.
        for n in 1..=3 {
            tokio::time::sleep(3 * WATCH_EVERY).await;
            std::fs::write(&path, "{").unwrap();
            tokio::time::sleep(3 * WATCH_EVERY).await;
            store.fail([Fault::Busy("db".into())]);
            files::write_private(&path, policy(n).as_bytes()).unwrap();
            takes_effect(&policy(n)).await;
            assert_eq!(app.clerk.snapshot().node(node).unwrap().approved_routes.len(), n);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_policy_that_is_already_in_effect_is_not_set_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.hujson");
        std::fs::write(&path, "{}").unwrap();
        let app = testing::tailnet();
        reload(&app.clerk, &path).await;
        let before = app.clerk.snapshot().version();
        tokio::spawn(watch(app.clerk.clone(), path.clone()));
        tokio::time::sleep(3 * WATCH_EVERY).await;
        assert_eq!(app.clerk.snapshot().version(), before);
    }
}
