//! Reading rows.

use std::path::Path;

use headsail_tailnet::commit::{Loaded, Revision};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, TransactionBehavior};

use super::{checksum, fault_of};
use crate::Fault;
use crate::rows::decode::{Fields, TABLES};
use crate::rows::unique::Unique;
use crate::rows::{Read, Value};

/// The revision of the last commit.
pub(super) fn revision(connection: &Connection) -> rusqlite::Result<Revision> {
    let mut statement = connection.prepare_cached("SELECT revision FROM meta")?;
    statement.query_row([], |row| row.get(0)).map(|n: i64| Revision(n.cast_unsigned()))
}

/// Reads every row, in one transaction.
pub(super) fn load(connection: &mut Connection, path: &Path) -> Result<Loaded, Fault> {
    let tx = connection
        .transaction_with_behavior(TransactionBehavior::Deferred)
        .map_err(|e| fault_of(path, &e))?;
    rows(&tx, path)
}

/// Reads every row within a transaction.
pub(super) fn rows(tx: &Connection, path: &Path) -> Result<Loaded, Fault> {
    let fault = |e| fault_of(path, &e);
    let revision = revision(tx).map_err(fault)?;
    let (mut changes, mut unique) = (Vec::new(), Unique::default());
    for (name, order, decode) in TABLES {
        let mut statement = tx.prepare(&format!("SELECT * FROM {name} ORDER BY {order}")).map_err(fault)?;
        let mut rows = statement.query([]).map_err(fault)?;
        while let Some(row) = rows.next().map_err(fault)? {
            let change =
                decode(&Fields(&SqlRow(row))).and_then(|change| unique.note(&change).map(|()| change));
            let change = change.map_err(|why| unreadable(path, name, row, &why))?;
            if !checksum::matches(name, row).map_err(fault)? {
                return Err(changed(path, name, row));
            }
            changes.push(change);
        }
    }
    Ok(Loaded { revision, changes })
}

/// Reads the columns of an SQLite row by name.
struct SqlRow<'a>(&'a Row<'a>);

impl Read for SqlRow<'_> {
    fn value(&self, column: &str) -> Result<Value, String> {
        Ok(match self.0.get_ref(column).map_err(|e| e.to_string())? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(n) => Value::Int(n),
            ValueRef::Text(text) => {
                Value::Text(std::str::from_utf8(text).map_err(|e| e.to_string())?.to_owned())
            }
            ValueRef::Blob(bytes) => Value::Blob(bytes.to_owned()),
            ValueRef::Real(n) => {
                return Err(format!("`{n}` is a floating-point number, which no column has"));
            }
        })
    }
}

/// A row that says something else than what was written.
fn changed(path: &Path, table: &str, row: &Row<'_>) -> Fault {
    Fault::Other(format!(
        "database `{}` is damaged: row `{}` of table `{table}` does not match its checksum; restore a backup, or, if you \
         have edited the row yourself, set its column `checksum` to NULL",
        path.display(),
        key_of(row)
    ))
}

fn key_of(row: &Row<'_>) -> String {
    match row.get_ref(0).map(|v| (v.as_i64(), v.as_str())) {
        Ok((Ok(id), _)) => id.to_string(),
        Ok((_, Ok(text))) => text.to_owned(),
        _ => "?".to_owned(),
    }
}

fn unreadable(path: &Path, table: &str, row: &Row<'_>, why: &str) -> Fault {
    let key = key_of(row);
    let remedy = match table {
        // A text is read before it is kept, so it was another release that could.
        "policies" => "start the release that wrote it, which may be a newer one, or delete that row",
        _ => "correct or delete that row",
    };
    Fault::Other(format!(
        "database `{}` has a row that cannot be read: `{key}` of table `{table}`: {why}; {remedy}, or restore a backup",
        path.display()
    ))
}
