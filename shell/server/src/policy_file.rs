//! The policy where it is a file: read at the start, on request, and when it changes.

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

/// What the reader of policies takes.
const MAX_FILE_BYTES: u64 = MAX_TEXT as u64;
/// What becomes of a bad policy while another one holds.
const REFUSED: &str = "is refused, the former one stays";
/// How often the file is looked at.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// Reads the policy for the first time; `domains` are the configured ones. A start with a policy that can't be read would let everybody reach everybody.
///
/// # Errors
/// The file can't be read, or what is wrong with the policy, with the places in the text.
pub fn first(path: &Path, domains: &[String]) -> Result<PolicyRow, String> {
    let text = read(path)?;
    PolicyRow::parse(&text, domains, clock::now(), false).map_err(|refusal| {
        format!(
            "the policy is refused:\n{}",
            render(&path.display().to_string(), &text, &refusal.diagnostics)
        )
    })
}

fn read(path: &Path) -> Result<String, String> {
    files::read_bounded(path, MAX_FILE_BYTES).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("cannot read the policy `{}`: {error}", path.display())
}

/// Reads the policy again and, if it is a good one, makes it hold; a bad one is named and the old one stays.
pub async fn reload(clerk: &Clerk, path: &Path) {
    read_and_set(clerk, path, REFUSED).await;
}

/// Runs the tests of the policy of [`first`], and approves what it approves. It holds even where its tests fail: without
/// it, everybody could reach everybody.
pub async fn confirm(clerk: &Clerk, path: &Path) {
    read_and_set(clerk, path, "holds, because a start has no former one, but it is not right").await;
}

async fn read_and_set(clerk: &Clerk, path: &Path, otherwise: &str) {
    let file = path.to_owned();
    let text = files::aside(move || files::read_bounded(&file, MAX_FILE_BYTES)).await;
    // Whoever asked can ask again, and the store has said what is wrong with it.
    let _ = set(clerk, path, text, otherwise).await;
}

/// What came of a policy.
enum Outcome {
    Holds,
    /// It cannot be read, or is not right.
    Refused,
    /// The store is at fault, not the policy.
    NotSaved,
}

async fn set(clerk: &Clerk, path: &Path, text: io::Result<String>, otherwise: &str) -> Outcome {
    let shown = path.display();
    let text = match text {
        Ok(text) => text,
        Err(error) => {
            tracing::warn!("{}; the former policy stays", unreadable(path, &error));
            return Outcome::Refused;
        }
    };
    let command = Command::SetPolicy { text: text.clone(), kept: false };
    match clerk.submit(Actor::File("policy".into()), command).await {
        Ok(_) => {
            tracing::info!("the policy `{shown}` holds");
            Outcome::Holds
        }
        Err(Failure::Rejected(Rejection::BadPolicy(faults))) if !faults.diagnostics.is_empty() => {
            let places = render(&shown.to_string(), &text, &faults.diagnostics);
            tracing::warn!("the policy {otherwise}:\n{places}");
            Outcome::Refused
        }
        Err(Failure::Rejected(rejection)) => {
            tracing::warn!("the policy `{shown}` {otherwise}: {}", rejection.text());
            Outcome::Refused
        }
        Err(Failure::Fault(why)) => {
            tracing::error!("the policy `{shown}` can't be set: {why}");
            Outcome::NotSaved
        }
    }
}

/// Follows the file for ever. What the store could not save is tried again.
pub async fn watch(clerk: Clerk, path: PathBuf) {
    let mut watch = Watch::new(path.clone(), MAX_FILE_BYTES);
    let mut last = Outcome::Holds;
    loop {
        let text = watch.news(WATCH_EVERY).await;
        let holds = |text: &String| clerk.snapshot().policy().is_some_and(|row| row.text() == text);
        // Said again where the last word was that something is wrong with it.
        if matches!(last, Outcome::Holds) && text.as_ref().is_ok_and(holds) {
            continue;
        }
        last = set(&clerk, &path, text, REFUSED).await;
        if let Outcome::NotSaved = last {
            watch.forget();
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
    async fn a_good_policy_holds_whatever_was_in_the_way_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.hujson");
        let store = MemoryStore::default();
        let app = testing::tailnet_over(store.clone());
        // Each policy approves a route, and that has to be saved.
        let alice = testing::user(&app, "alice").await;
        let node = testing::let_in(&app, 1, alice).await.0.id;
        let routes = ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"];
        let host = serde_json::json!({ "Hostinfo": { "Hostname": "web", "RoutableIPs": routes } });
        testing::registers(&app, 1, host).await;
        let policy =
            |n: usize| format!(r#"{{"autoApprovers": {{"routes": {{"10.{n}.0.0/16": ["alice@"]}}}}}}"#);
        tokio::spawn(watch(app.clerk.clone(), path.clone()));
        let holds = async |text: &str| {
            // The clerk works on a thread of its own, in time that is not paused.
            let deadline = std::time::Instant::now() + Duration::from_secs(30);
            while app.clerk.snapshot().policy().is_none_or(|row| row.text() != text) {
                assert!(std::time::Instant::now() < deadline, "{text}");
                tokio::time::sleep(WATCH_EVERY).await;
            }
        };
        // No file at first, then another in its place each time.
        for n in 1..=3 {
            tokio::time::sleep(3 * WATCH_EVERY).await;
            std::fs::write(&path, "{").unwrap();
            tokio::time::sleep(3 * WATCH_EVERY).await;
            store.fail([Fault::Busy("db".into())]);
            files::write_private(&path, policy(n).as_bytes()).unwrap();
            holds(&policy(n)).await;
            assert_eq!(app.clerk.snapshot().node(node).unwrap().approved_routes.len(), n);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_holds_already_is_not_set_again() {
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
