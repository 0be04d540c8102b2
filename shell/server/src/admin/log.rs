//! The change log, for people and programs.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use axum::Json;
use headsail_api::Problem;
use headsail_api::v1::log::{ListChangesQuery, ListChangesResponse, LogAction, LogEntry, LogField};
use headsail_store::history::{KINDS, Query, Record};
use headsail_tailnet::actor::Actor;
use headsail_wire::ids::{NodeId, UserId};
use headsail_wire::time::Time;
use serde_json::{Map, Value};
use similar::TextDiff;

use super::read::Read;
use super::{Admin, Answer, view};
use crate::clerk::Clerk;
use crate::system::files::run_blocking;

/// Changes in a response, if the query does not say how many.
const USUAL_LIMIT: u32 = 100;
/// Changes in a response at most.
const MAX_LIMIT: u32 = 1000;
/// How long a request may wait for news.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// How long the comparison of two policies may take. After that, the diff is correct but longer than it has to be.
const DIFF_TIME: Duration = Duration::from_millis(200);
/// A row that was created this much before its first entry in the log is an older one.
const CREATED_WITHIN_SECS: i64 = 2;

/// Columns that only contact and presence changes report: other changes of a node repeat them.
const VOLATILE: [&str; 8] =
    ["endpoints", "disco_key", "net_info", "online", "last_seen", "stream", "left_at", "linger_until"];
/// Columns that hold a time in microseconds.
const TIMES: [&str; 7] =
    ["created_at", "expiry", "expiration", "last_seen", "left_at", "linger_until", "deleted_at"];
/// Columns that hold 0 or 1.
const FLAGS: [&str; 6] = ["reusable", "ephemeral", "used", "name_pinned", "expired", "online"];

/// [`headsail_api::paths::LOG_LIST`]
pub async fn list(admin: Admin, Read(q): Read<ListChangesQuery>) -> Answer<ListChangesResponse> {
    let wait = q.wait.map(|secs| Duration::from_secs(secs.into()).min(MAX_WAIT));
    let query = query(q)?;
    let clerk = &admin.tailnet.clerk;
    let mut feed = clerk.follow();
    let deadline = tokio::time::Instant::now() + wait.unwrap_or_default();
    loop {
        // Whatever is committed from here on wakes this request.
        feed.borrow_and_update();
        let changes = read(clerk, query.clone()).await?;
        let may_wait = wait.is_some() && query.after.is_some() && changes.is_empty();
        if !may_wait || !matches!(tokio::time::timeout_at(deadline, feed.changed()).await, Ok(Ok(()))) {
            return Ok(Json(ListChangesResponse { changes }));
        }
    }
}

fn query(q: ListChangesQuery) -> Result<Query, Problem> {
    let kinds: Vec<&str> = q.kind.split(',').map(str::trim).filter(|kind| !kind.is_empty()).collect();
    if let Some(unknown) = kinds.iter().find(|kind| !KINDS.contains(&kind.trim_end_matches("-deleted"))) {
        return Err(unknown_word("kind of change", unknown, &KINDS));
    }
    let is_actor = |text: &str| Actor::KINDS.contains(&text) || text.parse::<Actor>().is_ok();
    if !q.actor.is_empty() && !is_actor(&q.actor) {
        return Err(unknown_word("actor", &q.actor, &Actor::KINDS));
    }
    let limit = q.limit.unwrap_or(USUAL_LIMIT);
    if limit > MAX_LIMIT {
        return Err(Problem::bad_request(format!("`limit` is {limit}; ask for {MAX_LIMIT} changes at most")));
    }
    let node = q.node.map(|id| NodeId::new(id).ok_or_else(|| no_id("node", id))).transpose()?;
    let user = q.user.map(|id| UserId::new(id).ok_or_else(|| no_id("user", id))).transpose()?;
    Ok(Query {
        after: q.after,
        before: q.before,
        since: q.since.map(view::from_time),
        actor: Some(q.actor).filter(|actor| !actor.is_empty()),
        node,
        user,
        kinds: kinds.into_iter().map(str::to_owned).collect(),
        oldest_first: q.after.is_some(),
        limit,
    })
}

/// A word that is none of a list; the nearest one is suggested.
fn unknown_word(what: &str, word: &str, known: &[&str]) -> Problem {
    let near = known.iter().max_by(|a, b| strsim::jaro(word, a).total_cmp(&strsim::jaro(word, b)));
    let near = near.filter(|near| strsim::jaro(word, near) > 0.7);
    let hint = near
        .map_or_else(|| format!("use one of {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
    Problem::bad_request(format!("`{word}` is not a known {what}; {hint}"))
}

fn no_id(what: &str, id: u64) -> Problem {
    Problem::bad_request(format!(
        "`{id}` is not the id of a {what}; ids are whole numbers from 1 to 2^53 - 1"
    ))
}

async fn read(clerk: &Clerk, query: Query) -> Result<Vec<LogEntry>, Problem> {
    let history = clerk.history();
    let read = move || match history.read(&query) {
        Ok(records) => Ok(records.into_iter().map(entry).collect()),
        Err(fault) => Err(io::Error::other(fault)),
    };
    let read = run_blocking(read).await;
    read.map_err(|fault| Problem::new(503, format!("cannot read the change log: {fault}")))
}

fn entry(record: Record) -> LogEntry {
    let deleted = record.kind.ends_with("-deleted");
    let kind = record.kind.strip_suffix("-deleted").unwrap_or(&record.kind).to_owned();
    let action = match &record.before {
        _ if deleted => LogAction::Deleted,
        None if is_new(&record.row, record.at) => LogAction::Created,
        _ => LogAction::Updated,
    };
    let before = record.before.unwrap_or_default();
    let diff = match (record.row.get("data"), before.get("data")) {
        (Some(after), was) if kind == "policy" => diff(was, after),
        _ => String::new(),
    };
    let name = |row: &Map<String, Value>| {
        let name = ["given_name", "name", "prefix"].into_iter().find_map(|column| row.get(column)?.as_str());
        name.unwrap_or_default().to_owned()
    };
    LogEntry {
        id: record.id,
        revision: record.revision.0,
        time: view::time(record.at),
        actor: record.actor.to_string(),
        action,
        name: if deleted { name(&before) } else { name(&record.row) },
        subject: record.subject,
        node: record.node.map(NodeId::get),
        user: record.user.map(UserId::get),
        fields: if deleted { Vec::new() } else { fields(&kind, &before, &record.row) },
        diff,
        kind,
    }
}

/// Whether a row was created when its first change was logged.
fn is_new(row: &Map<String, Value>, at: Time) -> bool {
    let created = row.get("created_at").and_then(Value::as_i64).map(Time::from_micros);
    created.is_some_and(|created| created.plus_secs(CREATED_WITHIN_SECS) >= at)
}

/// The fields that differ, those of embedded documents one by one.
fn fields(kind: &str, before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<LogField> {
    let (before, after) = (flat(kind, before), flat(kind, after));
    let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
    let values = names.map(|name| {
        let value = |fields: &BTreeMap<String, Value>| fields.get(name).cloned().unwrap_or_default();
        LogField { name: name.clone(), before: value(&before), after: value(&after) }
    });
    values.filter(|field| field.before != field.after).collect()
}

fn flat(kind: &str, row: &Map<String, Value>) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    for (column, value) in row {
        let repeated = kind == "node" && VOLATILE.contains(&column.as_str());
        let text_of_policy = kind == "policy" && column == "data";
        if !repeated && !text_of_policy && column != "id" {
            flatten(column, shown(column, value), &mut out);
        }
    }
    out
}

fn flatten(name: &str, value: Value, out: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => {
            fields.into_iter().for_each(|(field, value)| flatten(&format!("{name}.{field}"), value, out));
        }
        value => {
            out.insert(name.to_owned(), value);
        }
    }
}

/// A column as the API writes such values: times in RFC 3339, flags as booleans.
fn shown(column: &str, value: &Value) -> Value {
    match value.as_i64() {
        Some(n) if TIMES.contains(&column) => {
            view::time(Time::from_micros(n)).map_or(Value::Null, |time| time.to_string().into())
        }
        Some(n) if FLAGS.contains(&column) => (n != 0).into(),
        _ => value.clone(),
    }
}

fn diff(before: Option<&Value>, after: &Value) -> String {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let (before, after) = (text(before), text(Some(after)));
    TextDiff::configure().timeout(DIFF_TIME).diff_lines(&before, &after).unified_diff().to_string()
}
