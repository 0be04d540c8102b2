//! Writing rows.

use std::collections::BTreeMap;

use headsail_tailnet::change::{Change, Sequence};
use headsail_tailnet::commit::{Commit, Revision};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Result, ToSql, params};

use super::{checksum, log};
use crate::rows::{Columns, Value, Write, encode};

/// How many policies are kept. The newest is in effect; the change log refers to the text of the others.
const POLICIES: u32 = 32;

impl ToSql for Value {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.as_sql()))
    }
}

impl Value {
    pub(super) fn as_sql(&self) -> ValueRef<'_> {
        match self {
            Value::Null => ValueRef::Null,
            Value::Int(n) => ValueRef::Integer(*n),
            Value::Text(text) | Value::Json(text) => ValueRef::Text(text.as_bytes()),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }
    }
}

/// Writes the changes of a commit, and adds them to the change log.
pub(super) fn commit(tx: &Connection, commit: &Commit) -> Result<()> {
    let mut raised: BTreeMap<Sequence, u64> = BTreeMap::new();
    let mut position = 0;
    for (entry, (actor, changes)) in commit.entries.iter().enumerate() {
        for change in changes {
            let encoded = encode::write(change);
            let Some(write) = encoded.map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))? else {
                continue;
            };
            let policy = execute(tx, &write)?;
            log::append(tx, (commit, entry, position), actor, change, &log::fact(&write, policy))?;
            position += 1;
            raise(&mut raised, change);
        }
    }
    sequences(tx, &raised)
}

fn raise(raised: &mut BTreeMap<Sequence, u64>, change: &Change) {
    for (sequence, next) in encode::sequences(change) {
        let known = raised.entry(sequence).or_default();
        *known = next.max(*known);
    }
}

/// Writes the sequences, once for the whole commit.
fn sequences(tx: &Connection, raised: &BTreeMap<Sequence, u64>) -> Result<()> {
    let mut statement = tx.prepare_cached(
        "INSERT INTO sequences (name, next, checksum) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET next = excluded.next, checksum = excluded.checksum WHERE excluded.next > next",
    )?;
    for (sequence, next) in raised {
        let next = (*next).cast_signed();
        let columns = [("name", Value::Text(sequence.name().to_owned())), ("next", Value::Int(next))];
        statement.execute(params![sequence.name(), next, checksum::of_columns("sequences", &columns)])?;
    }
    Ok(())
}

/// Writes the revision of the last commit.
pub(super) fn revision(tx: &Connection, revision: Revision) -> Result<()> {
    tx.prepare_cached("UPDATE meta SET revision = ?1")?.execute([revision.0.cast_signed()]).map(drop)
}

/// Writes one row. Returns the id of a policy.
fn execute(tx: &Connection, write: &Write) -> Result<Option<i64>> {
    match write {
        Write::Put(table, columns) => put(tx, table, columns)?,
        Write::Update(table, columns) => update(tx, table, columns)?,
        Write::Delete(table, (key, value)) => {
            run(tx, &format!("DELETE FROM {table} WHERE {key} = ?"), [value])?;
        }
        Write::Policy(text, at) => return put_policy(tx, text, *at).map(Some),
        Write::Sequence(..) => {}
    }
    Ok(None)
}

/// Writes a policy and returns its id. Setting the newest policy again adds no row.
fn put_policy(tx: &Connection, text: &str, at: i64) -> Result<i64> {
    let newest = |tx: &Connection| {
        tx.prepare_cached("SELECT max(id) FROM policies")?.query_row([], |row| row.get::<_, i64>(0))
    };
    let columns = [("data", Value::Text(text.to_owned())), ("created_at", Value::Int(at))];
    let checksum = checksum::of_columns("policies", &columns);
    let mut again = tx.prepare_cached(
        "UPDATE policies SET created_at = ?2, checksum = ?3 WHERE id = (SELECT max(id) FROM policies) AND data = ?1",
    )?;
    if again.execute(params![text, at, checksum])? > 0 {
        return newest(tx);
    }
    tx.prepare_cached("INSERT INTO policies (data, created_at, checksum) VALUES (?1, ?2, ?3)")?
        .execute(params![text, at, checksum])?;
    let id = newest(tx)?;
    tx.prepare_cached("DELETE FROM policies WHERE id <= ?1 - ?2")?.execute(params![id, POLICIES])?;
    Ok(id)
}

fn put(tx: &Connection, table: &str, columns: &Columns) -> Result<()> {
    let checksum = (checksum::COLUMN, Value::Int(checksum::of_columns(table, columns)));
    let columns = || columns.iter().chain([&checksum]);
    let mut sql = format!("INSERT INTO {table} (");
    let (mut marks, mut sets) = (String::new(), String::new());
    for (index, (column, _)) in columns().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        sql.extend([comma, column]);
        marks.extend([comma, "?"]);
        sets.extend([comma, column, " = excluded.", column]);
    }
    let key = columns().next().map_or("id", |(column, _)| column);
    sql.extend([") VALUES (", &marks, ") ON CONFLICT (", key, ") DO UPDATE SET ", &sets]);
    run(tx, &sql, columns().map(|(_, value)| value))
}

fn update(tx: &Connection, table: &str, columns: &Columns) -> Result<()> {
    let Some(((key, id), rest)) = columns.split_first() else { return Ok(()) };
    let sets: Vec<String> = rest.iter().map(|(column, _)| format!("{column} = ?")).collect();
    let sql = format!("UPDATE {table} SET {} WHERE {key} = ?", sets.join(", "));
    run(tx, &sql, rest.iter().map(|(_, value)| value).chain([id]))
}

fn run<'v>(tx: &Connection, sql: &str, values: impl IntoIterator<Item = &'v Value>) -> Result<()> {
    tx.prepare_cached(sql)?.execute(rusqlite::params_from_iter(values)).map(drop)
}
