//! A store in one SQLite file.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use headsail_tailnet::commit::{Commit, Loaded, Revision, Since};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, ffi};

use crate::history::History;
use crate::{Fault, Store};

mod backup;
mod lock;
mod log;
mod migrate;
mod read;
mod write;

#[cfg(test)]
mod tests;

pub use backup::{backup, check};
pub use log::{Keep, LogLimits};

/// How long to wait while another program holds a lock.
const PATIENCE: Duration = Duration::from_secs(2);
/// The size of the cache of prepared statements. There are about twenty of them.
const STATEMENTS: usize = 64;

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Use a write-ahead log. Without it, use a rollback journal, for file systems without shared memory.
    pub write_ahead_log: bool,
    /// How many pages the write-ahead log may have before they are copied to the database; 0 for never.
    pub wal_autocheckpoint: u32,
    /// Check the whole file for damage first, which takes a while if it is large.
    pub quick_check: bool,
    pub log: LogLimits,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            write_ahead_log: true,
            wal_autocheckpoint: 1000,
            quick_check: false,
            log: LogLimits::default(),
        }
    }
}

/// A store in one SQLite file, with exclusive access to it.
pub struct SqliteStore {
    path: PathBuf,
    limits: LogLimits,
    /// Declared before the lock and therefore dropped first: the file is closed before another server can open it.
    connection: Connection,
    _lock: lock::Lock,
}

impl SqliteStore {
    /// Opens a database and migrates its tables to this release. A database that does not exist is created with mode 0600; its
    /// directory has to exist.
    ///
    /// # Errors
    /// Another server is using the file, or the file is damaged or belongs to another program or a newer release. Such a file is
    /// left unchanged.
    pub fn open(path: &Path, options: Options) -> Result<SqliteStore, Fault> {
        create_private(path)?;
        let lock = lock::Lock::take(path)?;
        let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let fault = |e| fault_of(path, &e);
        // SQLite silently opens a file without write permission as read-only, and fails at the first write.
        if connection.is_readonly("main").map_err(fault)? {
            return Err(Fault::Other(format!(
                "database `{}` is not writable; let this user write to the file and its directory",
                path.display()
            )));
        }
        // A file that turns out to be foreign, damaged or newer must be closed without writing a byte.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(fault)?;
        if options.quick_check {
            backup::verify(&connection, path, "quick_check")?;
        }
        let pending = migrate::pending(&connection, path)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(fault)?;
        configure(&connection, path, &options)?;
        for migration in pending {
            migrate::run(&mut connection, path, migration)?;
        }
        Ok(SqliteStore { path: path.to_owned(), limits: options.log, connection, _lock: lock })
    }

    fn write(&mut self, commit: &Commit) -> Result<Result<(), Fault>, rusqlite::Error> {
        let tx = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let stored = read::revision(&tx)?;
        if stored.next() != commit.revision {
            return Ok(Err(Fault::Conflict { commit: commit.revision, stored }));
        }
        write::commit(&tx, commit)?;
        log::prune(&tx, commit, self.limits)?;
        write::revision(&tx, commit.revision)?;
        tx.commit()?;
        Ok(Ok(()))
    }

    /// Commits without changing anything. SQLite skips writes that change nothing, so this one changes a row and then changes it
    /// back.
    fn touch(&mut self) -> Result<(), rusqlite::Error> {
        let tx = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let stored = read::revision(&tx)?;
        write::revision(&tx, stored.next())?;
        write::revision(&tx, stored)?;
        tx.commit()
    }
}

impl Store for SqliteStore {
    fn load(&mut self) -> Result<Loaded, Fault> {
        read::load(&mut self.connection, &self.path)
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), Fault> {
        if !commit.is_written() {
            return Ok(());
        }
        self.write(commit).unwrap_or_else(|e| Err(fault_of(&self.path, &e)))
    }

    fn since(&mut self, revision: Revision) -> Result<Since, Fault> {
        log::since(&mut self.connection, &self.path, revision)
    }

    fn history(&self) -> Arc<dyn History> {
        Arc::new(log::SqliteHistory { path: self.path.clone() })
    }

    fn ping(&mut self) -> Result<(), Fault> {
        self.touch().map_err(|e| fault_of(&self.path, &e))
    }
}

/// Creates the file if it does not exist. An existing file is not opened, because closing it would release the locks that
/// SQLite holds on it in this process.
fn create_private(path: &Path) -> Result<(), Fault> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(Fault::Other(format!(
            "could not create database `{}`: {e}; create its directory and let this user write there",
            path.display()
        ))),
    }
}

fn connect(path: &Path, mode: OpenFlags) -> Result<Connection, Fault> {
    let open = || {
        let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(PATIENCE)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(connection)
    };
    open().map_err(|e| fault_of(path, &e))
}

fn configure(connection: &Connection, path: &Path, options: &Options) -> Result<(), Fault> {
    let fault = |e| fault_of(path, &e);
    let (wanted, synchronous) = if options.write_ahead_log { ("wal", "normal") } else { ("delete", "full") };
    let got: String =
        connection.pragma_update_and_check(None, "journal_mode", wanted, |row| row.get(0)).map_err(fault)?;
    if got != wanted {
        return Err(Fault::Other(format!(
            "database `{}` does not support journal mode `{wanted}` here, only `{got}`; set \
             `database.sqlite.write_ahead_log` to {}",
            path.display(),
            !options.write_ahead_log
        )));
    }
    connection.pragma_update(None, "synchronous", synchronous).map_err(fault)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(fault)?;
    connection
        .pragma_update_and_check(None, "wal_autocheckpoint", options.wal_autocheckpoint, |_| Ok(()))
        .map_err(fault)
}

/// Classifies SQLite's errors by what the administrator has to do.
fn fault_of(path: &Path, error: &rusqlite::Error) -> Fault {
    const UNWRITABLE: [std::ffi::c_int; 5] = [
        ffi::SQLITE_IOERR_WRITE,
        ffi::SQLITE_IOERR_FSYNC,
        ffi::SQLITE_IOERR_TRUNCATE,
        ffi::SQLITE_IOERR_SHMSIZE,
        ffi::SQLITE_IOERR_SHMMAP,
    ];
    let name = path.display();
    let code = error.sqlite_error().map_or(0, |e| e.extended_code);
    match code & 0xff {
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => Fault::Busy(path.to_owned()),
        ffi::SQLITE_FULL => Fault::Full(path.to_owned()),
        ffi::SQLITE_IOERR if UNWRITABLE.contains(&code) => Fault::Full(path.to_owned()),
        ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => Fault::Other(format!(
            "database `{name}` is damaged or not an SQLite database ({error}); it was left unchanged: restore a backup, \
             or configure another path"
        )),
        ffi::SQLITE_READONLY | ffi::SQLITE_PERM | ffi::SQLITE_CANTOPEN => Fault::Other(format!(
            "cannot open database `{name}` for writing ({error}); let this user write to the file and its directory"
        )),
        ffi::SQLITE_CONSTRAINT => Fault::Other(format!(
            "a change violates a constraint of database `{name}` ({error}) and was not saved; this is a bug in the \
             server: please report it"
        )),
        _ => Fault::Other(format!("database `{name}`: {error}; check its disk for errors")),
    }
}
