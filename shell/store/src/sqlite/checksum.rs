//! Checksums of rows. SQLite's own checks find damage to the structure of a file, but not a changed letter of a name or a
//! flipped bit of a key: only a checksum over what the row says does. It is no protection against people who can write to
//! the file.

use rusqlite::Row;
use rusqlite::types::ValueRef;
use sha2::{Digest, Sha256};

use crate::rows::Value;

/// The column of the checksum.
pub(super) const COLUMN: &str = "checksum";

/// Columns that a checksum does not cover: those of nodes that are written on their own, because they are volatile
/// (`Change::Contact` and `Change::Presence`).
const VOLATILE: [&str; 8] =
    ["endpoints", "disco_key", "net_info", "online", "last_seen", "stream", "left_at", "linger_until"];

/// The checksum of a row that is to be written.
pub(super) fn of_columns(table: &str, columns: &[(&'static str, Value)]) -> i64 {
    checksum(table, columns.iter().map(|(name, value)| (*name, value.as_sql())).collect())
}

/// Whether a row says what was written. A row without a checksum does.
pub(super) fn matches(table: &str, row: &Row<'_>) -> rusqlite::Result<bool> {
    let names = row.as_ref();
    let ValueRef::Integer(written) = row.get_ref(COLUMN)? else { return Ok(true) };
    let mut columns = Vec::with_capacity(names.column_count());
    for (index, name) in names.column_names().enumerate() {
        columns.push((name, row.get_ref(index)?));
    }
    Ok(checksum(table, columns) == written)
}

/// The order of columns does not count, which is not the same in the table and in the code. Every part has its length, so
/// that nothing can move from one to the next unnoticed.
fn checksum(table: &str, mut columns: Vec<(&str, ValueRef<'_>)>) -> i64 {
    // The number of a policy is chosen by the database.
    let is_chosen = |name: &str| table == "policies" && name == "id";
    columns.retain(|(name, _)| *name != COLUMN && !VOLATILE.contains(name) && !is_chosen(name));
    columns.sort_by_key(|(name, _)| *name);
    let mut hash = Sha256::new();
    let mut add = |kind: u8, bytes: &[u8]| {
        hash.update([kind]);
        hash.update(bytes.len().to_le_bytes());
        hash.update(bytes);
    };
    add(0, table.as_bytes());
    for (name, value) in columns {
        add(1, name.as_bytes());
        match value {
            ValueRef::Null => add(2, &[]),
            ValueRef::Integer(n) => add(3, &n.to_le_bytes()),
            ValueRef::Real(n) => add(4, &n.to_le_bytes()),
            ValueRef::Text(text) => add(5, text),
            ValueRef::Blob(bytes) => add(6, bytes),
        }
    }
    let digest: [u8; 32] = hash.finalize().into();
    digest.first_chunk().map_or(0, |head| i64::from_le_bytes(*head))
}
