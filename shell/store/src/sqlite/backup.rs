//! Copies of a database in use, and a look through one that isn't.

use std::fs::{self, File};
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{connect, create_private, fault_of, migrate, read, sync_directory};
use crate::Fault;
use crate::rows::decode::TABLES;

/// Copies a database into a new file (0600), all as of one moment. The server that uses it goes on; it may be this one,
/// from any thread. The copy is looked through before it gets its name, so that what bears it is whole.
///
/// # Errors
/// A file that is there already, a full disk, a source that is no database of ours.
pub fn backup(database: &Path, to: &Path) -> Result<(), Fault> {
    let refuse = |what: String| Fault::Other(format!("backup `{}` {what}", to.display()));
    if to.symlink_metadata().is_ok() {
        return Err(refuse("exists already; choose another name".into()));
    }
    let source = connect(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    migrate::pending(&source, database)?;
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    // What an interrupted attempt has left is in nobody's way.
    if part.symlink_metadata().is_ok() {
        fs::remove_file(part).map_err(|e| refuse(format!("can't be made: {e}")))?;
    }
    create_private(part)?;
    let copied = copy(&source, part).and_then(|()| {
        let named = File::open(part).and_then(|f| f.sync_all()).and_then(|()| fs::rename(part, to));
        named.map_err(|e| refuse(format!("can't be finished: {e}; choose another place")))?;
        sync_directory(to)
    });
    if copied.is_err() {
        // The first error is the one to tell; a leftover is removed by the next attempt.
        let _ = fs::remove_file(part);
    }
    copied
}

fn copy(source: &Connection, part: &Path) -> Result<(), Fault> {
    let name = part.to_str().ok_or_else(|| {
        Fault::Other(format!("backup `{}` has a name that is no UTF-8; choose another", part.display()))
    })?;
    source.execute("VACUUM INTO ?1", [name]).map_err(|e| fault_of(part, &e))?;
    check(part)
}

/// Looks through a database that no server uses: whether it is ours, of a format that this release knows, and sound.
///
/// # Errors
/// What is wrong with it.
pub fn check(database: &Path) -> Result<(), Fault> {
    let connection = connect(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let pending = migrate::pending(&connection, database)?;
    look_through(&connection, database, "integrity_check")?;
    // Tables of an earlier format lack columns.
    if pending.is_empty() { read::rows(&connection, database).map(drop) } else { Ok(()) }
}

/// Runs one of SQLite's checks: `quick_check` or `integrity_check`.
pub(super) fn look_through(connection: &Connection, path: &Path, which: &str) -> Result<(), Fault> {
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
            "database `{}` is damaged ({damage}); it was left as it is: restore a backup",
            path.display()
        ))),
    }
}
