//! The change log: changes that can be replayed, written with each commit, and limited in number and age.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use headsail_tailnet::actor::Actor;
use headsail_tailnet::change::Change;
use headsail_tailnet::commit::{Commit, Revision, Since};
use headsail_wire::ids::{NodeId, UserId};
use headsail_wire::time::Time;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, ToSql, TransactionBehavior, params};
use serde_json::{Map, Value as Json};

use super::{connect, fault_of, read};
use crate::Fault;
use crate::history::{HIDDEN_KINDS, History, Query, Record, Retention, Subject, record_id, revision_of};
use crate::rows::decode::{self, Fields};
use crate::rows::{Write, to_json};

/// How many changes are kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// The number of changes.
    pub rows: u32,
    /// Their greatest age.
    pub days: u32,
}

/// How much of the change log is kept.
#[derive(Clone, Copy, Debug)]
pub struct LogLimits {
    /// Changes by people, and by the files and keys they configured.
    pub admin: Keep,
    /// Changes by clients and deadlines.
    pub routine: Keep,
    /// Changes of how nodes are reached, and whether they are connected.
    pub volatile: Keep,
    /// Old changes are deleted after this many commits. Until then, the log may exceed its limits.
    pub every: u32,
}

impl Default for LogLimits {
    fn default() -> LogLimits {
        LogLimits {
            admin: Keep { rows: 100_000, days: 730 },
            routine: Keep { rows: 50_000, days: 90 },
            volatile: Keep { rows: 20_000, days: 7 },
            every: 1000,
        }
    }
}

const TABLES: [(Retention, &str); 3] = [
    (Retention::Admin, "log_admin"),
    (Retention::Routine, "log_routine"),
    (Retention::Volatile, "log_volatile"),
];

const COLUMNS: &str = "id, entry, time, actor, kind, subject, node_id, user_id, fact";

/// Appends one change of a commit, at a position of the commit and caused by the command of this entry.
pub(super) fn append(
    tx: &Connection,
    (commit, entry, position): (&Commit, usize, usize),
    actor: &Actor,
    change: &Change,
    fact: &Map<String, Json>,
) -> rusqlite::Result<()> {
    let table = match Retention::of(actor, change) {
        Retention::Admin => "log_admin",
        Retention::Routine => "log_routine",
        Retention::Volatile => "log_volatile",
    };
    let subject = Subject::of(change);
    let mut statement = tx.prepare_cached(&format!(
        "INSERT INTO {table} ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
    ))?;
    let node = subject.node.map(|id| id.get().cast_signed());
    let user = subject.user.map(|id| id.get().cast_signed());
    let id = record_id(commit.revision, position).cast_signed();
    let fact = serde_json::to_string(fact).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    let entry = i64::try_from(entry).unwrap_or(i64::MAX);
    statement
        .execute(params![
            id,
            entry,
            commit.at.micros(),
            actor.to_string(),
            change.kind(),
            subject.id,
            node,
            user,
            fact
        ])
        .map(drop)
}

/// What the log records of a write. For a policy, it is the id of the row that has its text.
pub(super) fn fact(write: &Write, policy: Option<i64>) -> Map<String, Json> {
    match write {
        Write::Put(_, columns) | Write::Update(_, columns) => to_json(columns),
        Write::Delete(_, (key, value)) => to_json(&[(*key, value.clone())]),
        Write::Policy(_, at) => {
            Map::from_iter([("id".into(), policy.into()), ("created_at".into(), (*at).into())])
        }
        Write::Sequence(name, next) => {
            Map::from_iter([("name".into(), (*name).into()), ("next".into(), (*next).into())])
        }
    }
}

/// Deletes old changes, every [`LogLimits::every`] commits, and records the revision up to which the log has gaps.
pub(super) fn prune(tx: &Connection, commit: &Commit, limits: LogLimits) -> rusqlite::Result<()> {
    if !commit.revision.0.is_multiple_of(u64::from(limits.every.max(1))) {
        return Ok(());
    }
    let mut floor = None;
    for (retention, table) in TABLES {
        let keep = match retention {
            Retention::Admin => limits.admin,
            Retention::Routine => limits.routine,
            Retention::Volatile => limits.volatile,
        };
        let oldest = commit.at.plus_secs(-i64::from(keep.days) * 24 * 3600);
        // The newest change beyond the limit in number, and the last one before the oldest change that is young enough.
        let by_rows = format!("SELECT id FROM {table} ORDER BY id DESC LIMIT 1 OFFSET ?1");
        let by_age = format!("SELECT id - 1 FROM {table} WHERE time >= ?1 ORDER BY id LIMIT 1");
        let find = |sql: &str, value: &dyn ToSql| -> rusqlite::Result<Option<i64>> {
            tx.prepare_cached(sql)?.query_row([value], |row| row.get(0)).optional()
        };
        let last = find(&by_rows, &keep.rows)?.max(find(&by_age, &oldest.micros())?);
        let Some(last) = last else { continue };
        let newest: Option<i64> = tx
            .prepare_cached(&format!("SELECT max(id) FROM {table} WHERE id <= ?1"))?
            .query_row([last], |row| row.get(0))?;
        if let Some(newest) = newest {
            tx.prepare_cached(&format!("DELETE FROM {table} WHERE id <= ?1"))?.execute([newest])?;
            floor = floor.max(Some(revision_of(newest.cast_unsigned())));
        }
    }
    if let Some(floor) = floor {
        tx.prepare_cached("UPDATE meta SET log_floor = max(log_floor, ?1)")?
            .execute([floor.0.cast_signed()])?;
    }
    Ok(())
}

/// What was committed after a revision, read in one transaction.
pub(super) fn since(connection: &mut Connection, path: &Path, revision: Revision) -> Result<Since, Fault> {
    let fault = |e| fault_of(path, &e);
    let tx = connection.transaction_with_behavior(TransactionBehavior::Deferred).map_err(fault)?;
    let (stored, floor): (i64, i64) = tx
        .query_row("SELECT revision, log_floor FROM meta", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(fault)?;
    let replayable = floor.cast_unsigned() <= revision.0 && revision.0 <= stored.cast_unsigned();
    if replayable && let Some(commits) = replay(&tx, path, revision)? {
        return Ok(Since::Commits(commits));
    }
    read::rows(&tx, path).map(Since::Rows)
}

/// The commits after a revision; `None` if the text of one of their policies has been deleted.
fn replay(tx: &Connection, path: &Path, revision: Revision) -> Result<Option<Vec<Commit>>, Fault> {
    let fault = |e| fault_of(path, &e);
    let sql = format!("SELECT {COLUMNS} FROM change_log WHERE id >= ?1 ORDER BY id");
    let mut statement = tx.prepare_cached(&sql).map_err(fault)?;
    let mut rows = statement.query([record_id(revision.next(), 0).cast_signed()]).map_err(fault)?;
    let mut commits: Vec<Commit> = Vec::new();
    let mut entry = None;
    while let Some(row) = rows.next().map_err(fault)? {
        let mut record = record(row).map_err(fault)?.map_err(|why| unreadable(path, row, &why))?;
        if record.kind == "policy" && !with_text(tx, &mut record.row).map_err(fault)? {
            return Ok(None);
        }
        let change = change(&record).map_err(|why| unreadable(path, row, &why))?;
        if commits.last().is_none_or(|commit| commit.revision != record.revision) {
            commits.push(Commit { revision: record.revision, at: record.at, entries: Vec::new() });
            entry = None;
        }
        let Some(commit) = commits.last_mut() else { continue };
        match commit.entries.last_mut() {
            Some((_, changes)) if entry == Some(record.entry) => changes.push(change),
            _ => commit.entries.push((record.actor, vec![change])),
        }
        entry = Some(record.entry);
    }
    Ok(Some(commits))
}

fn unreadable(path: &Path, row: &Row<'_>, why: &str) -> Fault {
    let id: i64 = row.get(0).unwrap_or_default();
    Fault::Other(format!(
        "database `{}` has a change log entry that cannot be read: `{id}`: {why}; restore a backup",
        path.display()
    ))
}

fn record(row: &Row<'_>) -> rusqlite::Result<Result<Record, String>> {
    let id = row.get::<_, i64>(0)?.cast_unsigned();
    let (actor, fact): (String, String) = (row.get(3)?, row.get(8)?);
    let (node, user): (Option<i64>, Option<i64>) = (row.get(6)?, row.get(7)?);
    let parts = actor.parse::<Actor>().and_then(|actor| {
        let row: Map<String, Json> =
            serde_json::from_str(&fact).map_err(|e| format!("column `fact`: {e}"))?;
        Ok((actor, row))
    });
    let (at, entry) = (Time::from_micros(row.get(2)?), row.get::<_, i64>(1)?.cast_unsigned());
    let (kind, subject) = (row.get(4)?, row.get(5)?);
    Ok(parts.map(|(actor, row)| Record {
        id,
        revision: revision_of(id),
        entry,
        at,
        actor,
        kind,
        subject,
        node: node.and_then(|id| NodeId::new(id.cast_unsigned())),
        user: user.and_then(|id| UserId::new(id.cast_unsigned())),
        row,
        before: None,
    }))
}

/// Adds the text of a policy to its id. Returns whether the text is still stored.
fn with_text(tx: &Connection, fact: &mut Map<String, Json>) -> rusqlite::Result<bool> {
    let id = fact.get("id").and_then(Json::as_i64);
    let text: Option<String> = tx
        .prepare_cached("SELECT data FROM policies WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    let found = text.is_some();
    if let Some(text) = text {
        fact.insert("data".into(), text.into());
    }
    Ok(found)
}

fn change(record: &Record) -> Result<Change, String> {
    let fields = Fields(&record.row);
    match record.kind.as_str() {
        "user" => decode::user(&fields),
        "user-deleted" => fields.id("id").map(Change::UserGone),
        "node" => decode::node(&fields),
        "node-deleted" => fields.id("id").map(Change::NodeGone),
        "contact" => Ok(Change::Contact(fields.id("id")?, decode::contact(&fields)?)),
        "presence" => Ok(Change::Presence(fields.id("id")?, decode::presence(&fields)?)),
        "tombstone" => decode::tombstone(&fields),
        "tombstone-deleted" => fields.text("node_key").map(Change::TombstoneGone),
        "preauthkey" => decode::auth_key(&fields),
        "preauthkey-deleted" => fields.id("id").map(Change::AuthKeyGone),
        "apikey" => decode::api_key(&fields),
        "apikey-deleted" => fields.id("id").map(Change::ApiKeyGone),
        "policy" => decode::policy(&fields),
        "sequence" => decode::sequence(&fields),
        other => Err(format!("`{other}` is not a kind of change")),
    }
}

/// Reads the change log of a database that a server may be writing.
pub(super) struct SqliteHistory {
    pub path: PathBuf,
}

impl History for SqliteHistory {
    fn read(&self, query: &Query) -> Result<Vec<Record>, Fault> {
        let fault = |e| fault_of(&self.path, &e);
        let mut connection = connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let tx = connection.transaction_with_behavior(TransactionBehavior::Deferred).map_err(fault)?;
        let found = select(&tx, query).map_err(fault)?;
        let mut records = Vec::new();
        for record in found {
            let mut record = record.map_err(|why| {
                Fault::Other(format!(
                    "database `{}` has a change log entry that cannot be read: {why}; restore a backup",
                    self.path.display()
                ))
            })?;
            record.before = before(&tx, &record).map_err(fault)?;
            if record.kind == "policy" {
                with_text(&tx, &mut record.row).map_err(fault)?;
            }
            if record.kind.ends_with("-deleted") {
                record.row.clear();
            }
            records.push(record.without_secrets());
        }
        Ok(records)
    }
}

fn select(tx: &Connection, query: &Query) -> rusqlite::Result<Vec<Result<Record, String>>> {
    let mut conditions: Vec<&str> = Vec::new();
    let mut values: BTreeMap<&str, Box<dyn ToSql>> = BTreeMap::new();
    let mut add = |condition: &'static str, name: &'static str, value: Box<dyn ToSql>| {
        conditions.push(condition);
        values.insert(name, value);
    };
    if let Some(id) = query.after {
        add("id > :after", ":after", Box::new(id.cast_signed()));
    }
    if let Some(id) = query.before {
        add("id < :before", ":before", Box::new(id.cast_signed()));
    }
    if let Some(at) = query.since {
        add("time >= :since", ":since", Box::new(at.micros()));
    }
    if let Some(actor) = &query.actor {
        let any_of_kind = "(actor = :actor OR actor GLOB :actor || ':*')";
        add(any_of_kind, ":actor", Box::new(actor.clone()));
    }
    if let Some(id) = query.node {
        add("node_id = :node", ":node", Box::new(id.get().cast_signed()));
    }
    if let Some(id) = query.user {
        add("user_id = :user", ":user", Box::new(id.get().cast_signed()));
    }
    let kinds = serde_json::to_string(&query.kinds).unwrap_or_default();
    if query.kinds.is_empty() {
        let hidden =
            "NOT EXISTS (SELECT 1 FROM json_each(:hidden) WHERE kind IN (value, value || '-deleted'))";
        add(hidden, ":hidden", Box::new(serde_json::to_string(&HIDDEN_KINDS).unwrap_or_default()));
    } else {
        let wanted = "EXISTS (SELECT 1 FROM json_each(:kinds) WHERE kind IN (value, value || '-deleted'))";
        add(wanted, ":kinds", Box::new(kinds));
    }
    let order = if query.oldest_first { "ASC" } else { "DESC" };
    let sql = format!(
        "SELECT {COLUMNS} FROM change_log WHERE {} ORDER BY id {order} LIMIT {}",
        conditions.join(" AND "),
        query.limit
    );
    let mut statement = tx.prepare(&sql)?;
    let named: Vec<(&str, &dyn ToSql)> = values.iter().map(|(name, value)| (*name, &**value)).collect();
    let rows = statement.query_map(named.as_slice(), record)?;
    rows.collect()
}

/// The columns of a row before a change, taken from the previous change of the same row. For a policy, they include its text.
fn before(tx: &Connection, record: &Record) -> rusqlite::Result<Option<Map<String, Json>>> {
    let kind = record.kind.strip_suffix("-deleted").unwrap_or(&record.kind);
    let mut statement = tx.prepare_cached(
        "SELECT fact FROM (SELECT id, subject, kind, fact FROM log_admin UNION ALL
                           SELECT id, subject, kind, fact FROM log_routine)
         WHERE subject = ?1 AND kind = ?2 AND id < ?3 ORDER BY id DESC LIMIT 1",
    )?;
    let values = params![record.subject, kind, record.id.cast_signed()];
    let fact: Option<String> = statement.query_row(values, |row| row.get(0)).optional()?;
    let mut fact: Option<Map<String, Json>> = fact.and_then(|text| serde_json::from_str(&text).ok());
    if kind == "policy"
        && let Some(fact) = &mut fact
    {
        with_text(tx, fact)?;
    }
    Ok(fact)
}
