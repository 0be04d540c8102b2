//! Reading rows.

use std::path::Path;

use headsail_tailnet::commit::{Loaded, Revision};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, TransactionBehavior};

use super::fault_of;
use crate::Fault;
use crate::rows::decode::{Fields, TABLES};
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
    let mut changes = Vec::new();
    for (name, order, decode) in TABLES {
        let mut statement = tx.prepare(&format!("SELECT * FROM {name} ORDER BY {order}")).map_err(fault)?;
        let mut rows = statement.query([]).map_err(fault)?;
        while let Some(row) = rows.next().map_err(fault)? {
            changes.push(decode(&Fields(&SqlRow(row))).map_err(|why| unreadable(path, name, row, &why))?);
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

fn unreadable(path: &Path, table: &str, row: &Row<'_>, why: &str) -> Fault {
    let key = match row.get_ref(0).map(|v| (v.as_i64(), v.as_str())) {
        Ok((Ok(id), _)) => id.to_string(),
        Ok((_, Ok(text))) => text.to_owned(),
        _ => "?".to_owned(),
    };
    let remedy = match table {
        // Every policy is parsed before it is stored, so the release that wrote it could parse it.
        "policies" => "start the release that wrote it, which may be a newer one, or delete that row",
        _ => "correct or delete that row",
    };
    Fault::Other(format!(
        "database `{}` has a row that cannot be read: `{key}` of table `{table}`: {why}; {remedy}, or restore a backup",
        path.display()
    ))
}
