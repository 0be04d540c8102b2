//! The policy where it is a file: read at the start, on request, and when it changes.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use headsail_policy::{MAX_TEXT, render};
use headsail_tailnet::command::{Command, Rejection};
use headsail_tailnet::model::policy::PolicyRow;

use crate::clerk::{Clerk, Failure};
use crate::{clock, files};

/// How often the file is looked at.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// Reads the policy for the first time. A start with a policy that can't be read would let everybody reach everybody.
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
    files::read_bounded(path, MAX_TEXT as u64 + 1)
        .map_err(|e| format!("cannot read the policy `{}`: {e}", path.display()))
}

/// Reads the policy again and, if it is a good one, makes it hold; a bad one is named and the old one stays.
pub async fn reload(clerk: &Clerk, path: &Path) {
    set(clerk, path, "is refused, the former one stays").await;
}

/// Runs the tests of the policy of [`first`], and approves what it approves. It holds even where its tests fail: without
/// it, everybody could reach everybody.
pub async fn confirm(clerk: &Clerk, path: &Path) {
    set(clerk, path, "holds, because a start has no former one, but it is not right").await;
}

async fn set(clerk: &Clerk, path: &Path, otherwise: &str) {
    let shown = path.display();
    let text = match read(path) {
        Ok(text) => text,
        Err(why) => return tracing::warn!("{why}; the former policy stays"),
    };
    let command = Command::SetPolicy { text: text.clone(), kept: false };
    match clerk.submit("policy file", command).await {
        Ok(_) => tracing::info!("the policy `{shown}` holds"),
        Err(Failure::Rejected(Rejection::BadPolicy(faults))) if !faults.diagnostics.is_empty() => {
            let places = render(&shown.to_string(), &text, &faults.diagnostics);
            tracing::warn!("the policy {otherwise}:\n{places}");
        }
        Err(Failure::Rejected(rejection)) => {
            tracing::warn!("the policy `{shown}` {otherwise}: {}", rejection.text());
        }
        Err(Failure::Fault(why)) => tracing::error!("the policy `{shown}` can't be set: {why}"),
    }
}

/// Follows the file for ever.
pub async fn watch(clerk: Clerk, path: PathBuf) {
    let mut seen = stamp(&path);
    loop {
        tokio::time::sleep(WATCH_EVERY).await;
        let now = stamp(&path);
        if now != seen && now.is_some() {
            seen = now;
            reload(&clerk, &path).await;
        }
    }
}

/// What changes when somebody writes the file or puts another in its place.
fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}
