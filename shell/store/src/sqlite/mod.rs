//! A store in one SQLite file.

use std::fs::{File, OpenOptions};
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
mod checksum;
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
/// Small enough to be checked for damage in a fraction of a second while the server starts: tens of thousands of nodes. What
/// makes a database larger is its change log.
const CHECKED_AT_OPEN: u64 = 64 << 20;
/// Prepared statements that are kept; there are about twenty.
const STATEMENTS: usize = 64;

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Use a write-ahead log. Without it, use a rollback journal, for file systems without shared memory.
    pub write_ahead_log: bool,
    /// How many pages the write-ahead log may have before they are copied to the database; 0 for never.
    pub wal_autocheckpoint: u32,
    /// A database of at most this many bytes is checked for damage as a whole when it is opened. Of a larger one, only the
    /// tables that are loaded are: see [`SqliteStore::deferred_check`].
    pub checked_at_open: u64,
    /// How much of the change log is kept.
    pub log: LogLimits,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            write_ahead_log: true,
            wal_autocheckpoint: 1000,
            checked_at_open: CHECKED_AT_OPEN,
            log: LogLimits::default(),
        }
    }
}

/// When a commit reaches the disk itself, rather than the operating system's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sync {
    /// Before it is acknowledged: it survives a power cut.
    Now,
    /// With the next one that is synced. It survives a crash of the server, not of the machine.
    Later,
}

/// A store in one SQLite file, to itself for as long as it lives.
pub struct SqliteStore {
    path: PathBuf,
    limits: LogLimits,
    /// What the connection does now.
    sync: Sync,
    /// Only a write-ahead log can be synced later without a risk to the database as a whole.
    may_sync_later: bool,
    /// Whether the whole file was checked for damage.
    is_checked: bool,
    /// Before the lock, so that the file is closed when the next server may open it.
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
        let size = std::fs::metadata(path).map_or(0, |found| found.len());
        let is_small = size <= options.checked_at_open;
        if is_small {
            backup::verify(&connection, path, "quick_check")?;
        }
        let pending = migrate::pending(&connection, path)?;
        if !is_small && pending.is_empty() {
            backup::look_through_rows(&connection, path)?;
        }
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(fault)?;
        configure(&connection, path, &options)?;
        for migration in pending {
            migrate::run(&mut connection, path, migration)?;
        }
        Ok(SqliteStore {
            path: path.to_owned(),
            limits: options.log,
            sync: Sync::Now,
            may_sync_later: options.write_ahead_log,
            is_checked: is_small,
            connection,
            _lock: lock,
        })
    }

    /// The check for damage that was too long for [`SqliteStore::open`], for a thread of its own. `None` if nothing is left
    /// to check.
    pub fn deferred_check(&self) -> Option<impl FnOnce() -> Result<(), Fault> + Send + 'static> {
        let path = self.path.clone();
        (!self.is_checked).then_some(move || {
            let connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            backup::verify(&connection, &path, "quick_check")
        })
    }

    /// Chooses when the next transaction is synced. A sync covers everything that was written before.
    fn sync(&mut self, sync: Sync) -> Result<(), rusqlite::Error> {
        if sync != self.sync && self.may_sync_later {
            let level = if sync == Sync::Now { "full" } else { "normal" };
            self.connection.pragma_update(None, "synchronous", level)?;
            self.sync = sync;
        }
        Ok(())
    }

    fn write(&mut self, commit: &Commit) -> Result<Result<(), Fault>, rusqlite::Error> {
        self.sync(if commit.is_durable() { Sync::Now } else { Sync::Later })?;
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
        self.sync(Sync::Now)?;
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
        // Without its name in a synced directory, a synced file is lost all the same.
        Ok(_) => sync_directory(path),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(Fault::Other(format!(
            "could not create database `{}`: {e}; create its directory and let this user write there",
            path.display()
        ))),
    }
}

/// Makes the names of new, renamed and removed files in the directory of `path` survive a power cut.
fn sync_directory(path: &Path) -> Result<(), Fault> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(|e| {
        Fault::Other(format!(
            "directory `{}` can't be written to disk: {e}; see whether its disk is sound",
            parent.display()
        ))
    })
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
    // A rollback journal that has been deleted must not come back: `extra` syncs the directory, too.
    let (wanted, synchronous) = if options.write_ahead_log { ("wal", "full") } else { ("delete", "extra") };
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
