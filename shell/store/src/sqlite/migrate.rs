//! Migrations of the tables: numbered steps, each in its own transaction. The database keeps the digest of each step.

use std::path::Path;

use headsail_wire::keys::hex;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use sha2::{Digest, Sha256};

use super::fault_of;
use crate::Fault;

/// Marks a file as ours (SQLite's `application_id`): "Hdsl".
const APPLICATION: i32 = i32::from_be_bytes(*b"Hdsl");

/// A step. It must never change after its release.
#[derive(Clone, Copy, Debug)]
pub(super) struct Migration {
    version: u32,
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "ground", sql: include_str!("migrations/0001_ground.sql") },
    Migration { version: 2, name: "change log", sql: include_str!("migrations/0002_change_log.sql") },
    Migration { version: 3, name: "checksums", sql: include_str!("migrations/0003_checksums.sql") },
];

impl Migration {
    fn digest(&self) -> String {
        hex(&Sha256::digest(self.sql.as_bytes()))
    }
}

/// The steps that a database still needs. Writes nothing.
///
/// # Errors
/// The database belongs to another program or a newer release, or has applied steps that differ from ours.
pub(super) fn pending(connection: &Connection, path: &Path) -> Result<&'static [Migration], Fault> {
    pending_of(connection, path, MIGRATIONS)
}

fn pending_of<'m>(
    connection: &Connection,
    path: &Path,
    known: &'m [Migration],
) -> Result<&'m [Migration], Fault> {
    let fault = |e| fault_of(path, &e);
    let name = path.display();
    let application: i32 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(fault)?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(fault)?;
    if tables == 0 && (application == 0 || application == APPLICATION) {
        return Ok(known);
    }
    if application != APPLICATION {
        let whose = if is_headscale(connection).map_err(fault)? { "Headscale" } else { "another program" };
        return Err(Fault::Other(format!(
            "database `{name}` belongs to {whose}; it was left unchanged: configure another path"
        )));
    }
    let applied = applied(connection).map_err(fault)?;
    for (index, (version, digest)) in applied.iter().enumerate() {
        let Some(step) = known.get(index) else {
            return Err(Fault::Other(format!(
                "database `{name}` was written by a newer release (format {version}, this one supports {}); it was left \
                 unchanged: install the newer release, or restore a backup from before the update",
                known.len()
            )));
        };
        if step.version != *version || step.digest() != *digest {
            return Err(Fault::Other(format!(
                "database `{name}` has a different schema than this release (format {version}, `{}`); it was left \
                 unchanged: use the release that wrote it, or restore a backup",
                step.name
            )));
        }
    }
    Ok(known.get(applied.len()..).unwrap_or_default())
}

fn is_headscale(connection: &Connection) -> rusqlite::Result<bool> {
    let found = connection
        .query_row(
            "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name IN ('machines', 'namespaces', 'pre_auth_keys')",
            [],
            |_| Ok(()),
        )
        .optional()?;
    Ok(found.is_some())
}

fn applied(connection: &Connection) -> rusqlite::Result<Vec<(u32, String)>> {
    let mut statement =
        connection.prepare("SELECT version, checksum FROM schema_migrations ORDER BY version")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Runs one step.
///
/// # Errors
/// The step failed, and the database is unchanged.
pub(super) fn run(connection: &mut Connection, path: &Path, step: &Migration) -> Result<(), Fault> {
    let mut attempt = || {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.pragma_update(None, "application_id", APPLICATION)?;
        tx.execute_batch(
            "CREATE TABLE IF NOT EXISTS schema_migrations (
                version    INTEGER PRIMARY KEY,
                name       TEXT NOT NULL,
                checksum   TEXT NOT NULL,
                applied_at INTEGER NOT NULL DEFAULT (unixepoch() * 1000000)
            ) STRICT",
        )?;
        tx.execute_batch(step.sql)?;
        tx.execute(
            "INSERT INTO schema_migrations (version, name, checksum) VALUES (?1, ?2, ?3)",
            params![step.version, step.name, step.digest()],
        )?;
        tx.commit()
    };
    attempt().map_err(|e| fault_of(path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Migration = Migration { version: 1, name: "first", sql: "CREATE TABLE a (x) STRICT" };
    const GOOD: Migration = Migration { version: 1, name: "first", sql: "CREATE TABLE a (x INTEGER) STRICT" };
    const BROKEN: Migration = Migration {
        version: 2,
        name: "broken",
        sql: "CREATE TABLE b (x INTEGER) STRICT; INSERT INTO nowhere VALUES (1)",
    };
    const SECOND: Migration =
        Migration { version: 2, name: "second", sql: "CREATE TABLE b (x INTEGER) STRICT" };

    fn names(steps: Result<&[Migration], Fault>) -> Vec<&'static str> {
        steps.unwrap().iter().map(|s| s.name).collect()
    }

    #[test]
    fn steps_run_once_and_in_order() {
        let mut connection = Connection::open_in_memory().unwrap();
        let path = Path::new("x.db");
        assert_eq!(names(pending_of(&connection, path, &[GOOD, SECOND])), ["first", "second"]);
        run(&mut connection, path, &GOOD).unwrap();
        assert_eq!(names(pending_of(&connection, path, &[GOOD, SECOND])), ["second"]);
        run(&mut connection, path, &SECOND).unwrap();
        assert_eq!(names(pending_of(&connection, path, &[GOOD, SECOND])), [""; 0]);
        assert!(pending_of(&connection, path, &[GOOD]).unwrap_err().to_string().contains("newer release"));
        let changed = pending_of(&connection, path, &[FIRST, SECOND]).unwrap_err().to_string();
        assert!(changed.contains("different schema"), "{changed}");
    }

    #[test]
    fn a_step_that_fails_leaves_nothing_behind() {
        let mut connection = Connection::open_in_memory().unwrap();
        let path = Path::new("x.db");
        assert!(run(&mut connection, path, &FIRST).is_err(), "strict tables need column types");
        assert_eq!(names(pending_of(&connection, path, &[GOOD])), ["first"]);
        run(&mut connection, path, &GOOD).unwrap();
        assert!(run(&mut connection, path, &BROKEN).is_err());
        assert_eq!(names(pending_of(&connection, path, &[GOOD, SECOND])), ["second"]);
        run(&mut connection, path, &SECOND).expect("table b does not exist yet");
    }

    #[test]
    fn the_steps_are_numbered_from_one() {
        assert!(MIGRATIONS.iter().zip(1..).all(|(step, number)| step.version == number));
    }
}
