//! Stores for the rows of a tailnet.
//!
//! A [`Store`] keeps the rows of one tailnet without knowing what they mean. [`Store::load`] returns the same kind of
//! [`Change`]s that [`Store::commit`] takes, so loading is just `tailnet.apply(&loaded.changes)`. A commit is one transaction:
//! every row that changed, the sequences of ids, the entries of the change log, and the next [`Revision`]. It happens completely
//! or not at all. After a [`Fault`], the next commit may succeed.
//!
//! # What is kept
//! The [`Durability`] of each change decides. Durable and volatile changes are written. Changes that live in memory only, such
//! as pending logins and the configuration, are skipped, and a commit with nothing else does not touch the disk. A commit with
//! a durable change is synced before it is acknowledged, so that it survives a power cut; volatile changes alone are left to the
//! operating system until the next such commit (see [`Commit::is_durable`]). Rows are loaded
//! exactly as they were written, including the presence of a node whose stream belonged to an earlier process;
//! [`headsail_tailnet::tailnet::revive`] says what that means after a restart.
//!
//! # SQLite
//! [`sqlite::SqliteStore`] keeps everything in one file with mode 0600, and a write-ahead log beside it. Tables and columns that
//! mean the same as Headscale's have the same names (`users`, `nodes`, `pre_auth_keys`, `api_keys`). Keys are text with their
//! prefix, times are microseconds since the Unix epoch, and lists and hostinfo are JSON with the field names of Go.
//!
//! While a server uses the file, it holds a lock on `<file>.lock`, and on the database itself if that does not interfere with
//! SQLite. The operating system releases both however the process ends.
//!
//! The change log is limited in number and age: see [`sqlite::LogLimits`]. [`sqlite::backup`] copies a database while it is in use,
//! and [`sqlite::check`] verifies one that is not.
//!
//! # Memory
//! [`memory::MemoryStore`] does the same without a disk, for tests and the simulation. Tests can make it fail.
//!
//! [`Change`]: headsail_tailnet::change::Change
//! [`Durability`]: headsail_tailnet::change::Durability

#![warn(clippy::wildcard_enum_match_arm)]

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use headsail_tailnet::commit::{Commit, Loaded, Revision, Since};

use crate::history::History;

pub mod history;
pub mod memory;
pub mod rows;
pub mod sqlite;

/// Keeps the rows of a tailnet. Its owner is a clerk; other processes may write to the same database.
pub trait Store: Send {
    /// Reads every row.
    ///
    /// # Errors
    /// The database is locked or damaged, or has a row that cannot be parsed. The store is unchanged.
    fn load(&mut self) -> Result<Loaded, Fault>;

    /// Writes a commit as one transaction. A commit with nothing to write does not touch the disk.
    ///
    /// # Errors
    /// Nothing was written. After [`Fault::Conflict`], [`Store::since`] returns what the other writer committed.
    fn commit(&mut self, commit: &Commit) -> Result<(), Fault>;

    /// What was committed after a revision: the commits, or every row if the change log does not go back that far.
    ///
    /// # Errors
    /// As for [`Store::load`].
    fn since(&mut self, revision: Revision) -> Result<Since, Fault>;

    /// Reads the change log, from any thread and while this store writes it.
    fn history(&self) -> Arc<dyn History>;

    /// Checks whether a commit could be saved now, for health checks. It writes to the disk without changing a row.
    ///
    /// # Errors
    /// The fault that a commit would get.
    fn ping(&mut self) -> Result<(), Fault>;
}

/// Why a store failed. It is never the caller's mistake. The text tells the administrator what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Another writer committed first.
    Conflict {
        /// The revision of the commit that was refused.
        commit: Revision,
        /// The revision that is stored.
        stored: Revision,
    },
    /// Another program holds a lock on this file and did not release it in time.
    Busy(PathBuf),
    /// There is no room for this file to grow.
    Full(PathBuf),
    /// Anything else, as a whole sentence.
    Other(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Conflict { commit, stored } => write!(
                f,
                "another writer keeps changing the database (it is at revision {stored}, this server tried to commit \
                 {commit}); make sure that only one server uses it"
            ),
            Fault::Busy(path) => write!(
                f,
                "database `{}` is locked by another program; find it with `fuser {0}` and end its transaction. \
                 The server then recovers automatically",
                path.display()
            ),
            Fault::Full(path) => write!(
                f,
                "database `{}` cannot be written because the disk or a quota is full; free some space. \
                 The server then recovers automatically",
                path.display()
            ),
            Fault::Other(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Fault {}
