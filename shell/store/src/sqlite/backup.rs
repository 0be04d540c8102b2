//! Backups of a database in use, and integrity checks.

use std::fs::{self, File};
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{connect, create_private, fault_of, migrate, read, sync_directory};
use crate::Fault;
use crate::rows::decode::TABLES;

/// Writes a consistent copy of a database to a new file with mode 0600. A server may be using the database, including this
/// process, from any thread. The copy gets its name only after it has passed an integrity check.
///
/// # Errors
/// The target exists, the disk is full, or the source is not a database of ours.
pub fn backup(database: &Path, to: &Path) -> Result<(), Fault> {
    let refuse = |what: String| Fault::Other(format!("backup `{}` {what}", to.display()));
    if to.symlink_metadata().is_ok() {
        return Err(refuse("already exists; choose another name".into()));
    }
    let source = connect(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    migrate::pending(&source, database)?;
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    // An interrupted backup may have left its file.
    if part.symlink_metadata().is_ok() {
        fs::remove_file(part)
            .map_err(|e| refuse(format!("could not be created: {e}; delete `{}`", part.display())))?;
    }
    create_private(part)?;
    let copied = copy(&source, part).and_then(|()| {
        let named = File::open(part).and_then(|f| f.sync_all()).and_then(|()| fs::rename(part, to));
        named.map_err(|e| refuse(format!("could not be completed: {e}; choose another directory")))?;
        sync_directory(to)
    });
    if copied.is_err() {
        // The first error is the one to report. If the file stays, the next backup deletes it.
        let _ = fs::remove_file(part);
    }
    copied
}

fn copy(source: &Connection, part: &Path) -> Result<(), Fault> {
    let name = part.to_str().ok_or_else(|| {
        Fault::Other(format!("the name of backup `{}` is not valid UTF-8; choose another", part.display()))
    })?;
    source.execute("VACUUM INTO ?1", [name]).map_err(|e| fault_of(part, &e))?;
    check(part)
}

/// Checks a database that no server is using: that it is ours, in a format that this release knows, and undamaged.
///
/// # Errors
/// It is not.
pub fn check(database: &Path) -> Result<(), Fault> {
    let connection = connect(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let pending = migrate::pending(&connection, database)?;
    verify(&connection, database, "integrity_check")?;
    // Tables of an earlier format lack columns.
    if pending.is_empty() { read::rows(&connection, database).map(drop) } else { Ok(()) }
}

/// Runs one of SQLite's checks: `quick_check` or `integrity_check`.
pub(super) fn verify(connection: &Connection, path: &Path, which: &str) -> Result<(), Fault> {
    let verdict: String =
        connection.pragma_query_value(None, which, |row| row.get(0)).map_err(|e| fault_of(path, &e))?;
    judge(path, &verdict)
}

/// Checks the tables that are loaded, whatever the size of the others.
pub(super) fn look_through_rows(connection: &Connection, path: &Path) -> Result<(), Fault> {
    for (table, ..) in TABLES {
        let mut verdict = String::new();
        let read = |row: &rusqlite::Row<'_>| row.get(0).map(|said| verdict = said);
        connection.pragma(None, "integrity_check", table, read).map_err(|e| fault_of(path, &e))?;
        judge(path, &verdict)?;
    }
    Ok(())
}

fn judge(path: &Path, verdict: &str) -> Result<(), Fault> {
    match verdict {
        "ok" => Ok(()),
        damage => Err(Fault::Other(format!(
            "database `{}` is damaged ({damage}); it was left unchanged: restore a backup",
            path.display()
        ))),
    }
}
