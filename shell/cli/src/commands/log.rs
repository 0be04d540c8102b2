//! `log`: the change log.

use std::time::Duration;

use clap::Args;
use headsail_api::client::ClientError;
use headsail_api::v1::log::{ListChangesQuery, LogAction, LogEntry};
use headsail_api::{Timestamp, UserRef};
use serde_json::Value;

use super::{Ctx, resolve};
use crate::flags::time_of;
use crate::output::{self, Answer, Failure, Format, Outcome};

/// The longest value that is shown in full.
const MAX_VALUE: usize = 60;
/// How long to wait before asking again, if the server is gone while its log is followed.
const RECONNECT: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub struct LogArgs {
    /// Only changes since then: a duration such as 24h or 7d, or a time such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = since)]
    pub since: Option<Timestamp>,
    /// Only changes that this actor caused, such as `api-key:3`, or this kind of actor: node, machine, api-key, user, unix,
    /// clock, file or server
    #[arg(long, value_name = "ACTOR", default_value = "", hide_default_value = true)]
    pub actor: String,
    /// Only changes of this node: id, name or address
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
    /// Only changes of this user, its nodes and its keys: id, name or e-mail address
    #[arg(long, value_name = "USER")]
    pub user: Option<UserRef>,
    /// Only changes of these kinds, separated by commas: user, node, preauthkey, apikey, policy, tombstone, contact, presence
    #[arg(long, value_name = "KIND", default_value = "", hide_default_value = true)]
    pub kind: String,
    /// Show the newest N changes, 1000 at most
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    pub limit: u32,
    /// Keep running, and show changes as they happen
    #[arg(short, long)]
    pub follow: bool,
}

/// Parses how far to look back.
fn since(text: &str) -> Result<Timestamp, String> {
    let Ok(span) = headsail_server::config::duration::parse(text) else { return time_of(text) };
    Timestamp::now().checked_sub(span).map_err(|_| format!("`{text}` is too long ago"))
}

pub async fn run(args: LogArgs, ctx: &Ctx) -> Outcome {
    let node = match &args.node {
        Some(wanted) => Some(resolve::node_id(ctx, wanted).await?),
        None => None,
    };
    let user = match &args.user {
        Some(wanted) => Some(resolve::user_id(ctx, wanted).await?),
        None => None,
    };
    let query = ListChangesQuery {
        since: args.since,
        actor: args.actor,
        node,
        user,
        kind: args.kind,
        limit: Some(args.limit),
        ..ListChangesQuery::default()
    };
    // The newest changes are asked for, and shown in the order in which they happened.
    let mut changes = ctx.client.list_changes(&query).await?.changes;
    changes.reverse();
    if args.follow {
        return follow(ctx, query, changes).await;
    }
    let lines: Vec<String> = changes.iter().map(text).collect();
    let shown = if lines.is_empty() { "There are no such changes.".to_owned() } else { lines.join("\n") };
    Ok(Answer::new(&changes, shown))
}

/// Shows changes as they happen, until the command is interrupted or nobody reads its output.
async fn follow(ctx: &Ctx, query: ListChangesQuery, mut changes: Vec<LogEntry>) -> Outcome {
    let mut after = match changes.last() {
        Some(last) => last.id,
        None => newest(ctx).await?,
    };
    loop {
        for change in &changes {
            let shown = match ctx.format {
                Format::Text => text(change),
                // One change on each line, so that programs can read them as they come.
                Format::Json | Format::JsonLine | Format::Yaml => {
                    serde_json::to_string(change).map_err(|e| Failure::new(e.to_string()))?
                }
            };
            if !output::stream(&shown) {
                return Ok(Answer::silent());
            }
            after = change.id;
        }
        // Half of the time after which the client gives up on a response.
        let wait = u32::try_from(ctx.client.timeout().as_secs() / 2).unwrap_or(1).max(1);
        let next = ListChangesQuery { after: Some(after), wait: Some(wait), limit: None, ..query.clone() };
        changes = match ctx.client.list_changes(&next).await {
            Ok(response) => response.changes,
            Err(ClientError::Unreachable(_)) => {
                tokio::time::sleep(RECONNECT).await;
                Vec::new()
            }
            Err(error) => return Err(error.into()),
        };
    }
}

/// The id of the newest change of all.
async fn newest(ctx: &Ctx) -> Result<u64, Failure> {
    let query = ListChangesQuery { limit: Some(1), ..ListChangesQuery::default() };
    let newest = ctx.client.list_changes(&query).await?.changes;
    // Ids start far above 1, which stands for the beginning of the log.
    Ok(newest.first().map_or(1, |change| change.id))
}

/// A change for people: a line, and below it what changed.
fn text(change: &LogEntry) -> String {
    let what = match change.action {
        LogAction::Created => "created",
        LogAction::Updated => "updated",
        LogAction::Deleted => "deleted",
    };
    let subject = match (change.name.as_str(), change.subject.as_str()) {
        ("", "") => String::new(),
        ("", id) => format!(" {id}"),
        (name, id) => format!(" `{name}` ({id})"),
    };
    let mut lines =
        vec![format!("{}  {}  {}{subject} {what}", output::time(change.time), change.actor, change.kind)];
    let is_new = change.action == LogAction::Created;
    for field in &change.fields {
        let (before, after) = (value(&field.before), value(&field.after));
        if !is_new {
            lines.push(format!("    {}: {before} -> {after}", field.name));
        } else if !is_empty(&field.after) && !field.name.contains('.') && field.name != "created_at" {
            lines.push(format!("    {}: {after}", field.name));
        }
    }
    lines.extend(change.diff.lines().map(|line| format!("    {line}")));
    lines.join("\n")
}

/// Whether a field of a new row goes without saying.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::Object(_) => false,
    }
}

fn value(value: &Value) -> String {
    let text = match value {
        Value::Null => "none".to_owned(),
        Value::String(text) if text.is_empty() => "empty".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(MAX_VALUE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use headsail_api::v1::log::LogField;

    use super::*;

    fn change(action: LogAction, fields: &[(&str, Value, Value)]) -> LogEntry {
        let field = |(name, before, after): &(&str, Value, Value)| LogField {
            name: (*name).to_owned(),
            before: before.clone(),
            after: after.clone(),
        };
        LogEntry {
            actor: "api-key:3".into(),
            kind: "node".into(),
            action,
            subject: "12".into(),
            name: "web".into(),
            fields: fields.iter().map(field).collect(),
            ..LogEntry::default()
        }
    }

    #[test]
    fn an_update_shows_each_field_before_and_after() {
        let update = change(
            LogAction::Updated,
            &[
                ("given_name", "web-1".into(), "web".into()),
                ("tags", serde_json::json!([]), serde_json::json!(["tag:web"])),
                ("expiry", Value::Null, "x".repeat(100).into()),
            ],
        );
        assert_eq!(
            text(&update),
            format!(
                "-  api-key:3  node `web` (12) updated\n    given_name: web-1 -> web\n    tags: [] -> [\"tag:web\"]\n    \
                 expiry: none -> {}…",
                "x".repeat(60)
            )
        );
    }

    #[test]
    fn a_new_row_shows_what_is_set() {
        let fields = [
            ("ephemeral", Value::Null, Value::Bool(false)),
            ("given_name", Value::Null, "web".into()),
            ("host_info.OS", Value::Null, "linux".into()),
        ];
        let created = change(LogAction::Created, &fields);
        assert_eq!(text(&created), "-  api-key:3  node `web` (12) created\n    given_name: web");
        let deleted = change(LogAction::Deleted, &[]);
        assert_eq!(text(&deleted), "-  api-key:3  node `web` (12) deleted");
        let policy = LogEntry { diff: "-a\n+b\n".into(), kind: "policy".into(), ..LogEntry::default() };
        assert_eq!(text(&policy), "-    policy updated\n    -a\n    +b");
    }

    #[test]
    fn how_far_to_look_back_is_a_duration_or_a_time() {
        let hour_ago = since("1h").unwrap();
        assert!((Timestamp::now().as_second() - hour_ago.as_second() - 3600).abs() < 5);
        assert_eq!(since("2026-01-31T12:00:00Z").unwrap().to_string(), "2026-01-31T12:00:00Z");
        assert!(since("yesterday").unwrap_err().contains("`yesterday` is not a time"));
    }
}
