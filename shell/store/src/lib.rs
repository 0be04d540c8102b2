//! Where a tailnet is kept: load and commit over SQLite.
//!
//! A [`Store`] keeps the rows of one tailnet and knows nothing of what they mean. [`Store::load`] gives the same
//! [`Change`]s that [`Store::commit`] took, so that starting is `tailnet.apply(&loaded.changes)` and nothing else. One
//! commit is one transaction: every row that changed, the sequences of row numbers, one row of the change log, and the
//! next [`Revision`]. It happens as a whole or not at all, and after a [`Fault`] the next commit may work.
//!
//! # What is kept
//! Changes choose by [`Durability`]. Durable and volatile ones are written; those that live in memory only (logins that
//! wait, the configuration) are passed over, and a batch of nothing else touches no disk.
//! A commit with a durable change is on the disk itself before it is acknowledged, so that it survives a power cut. Volatile
//! changes alone are left to the operating system until the next such commit: see [`Commit::is_durable`].
//! A row read back says what it said, presence with the number of a stream of an earlier process included:
//! [`headsail_tailnet::tailnet::revive`] says what that means after a restart.
//!
//! # SQLite
//! [`sqlite::SqliteStore`] keeps everything in one file, 0600, with a write-ahead log beside it. Tables and columns are
//! named as Headscale's where they mean the same (`users`, `nodes`, `pre_auth_keys`, `api_keys`); keys are text with
//! their prefix, times are microseconds since the Unix epoch, lists and hosts are JSON with the field names of Go.
//! `<file>.lock` is locked for as long as a server uses the file, and the file itself where that does not disturb SQLite;
//! the system lets go of them however the server ends.
//! The change log is the audit trail, and bounded: see [`sqlite::LogLimits`].
//! [`sqlite::backup`] copies a database that is in use; [`sqlite::check`] looks through one that isn't.
//!
//! # Memory
//! [`memory::MemoryStore`] is the same for tests and the simulation, and can be told to fail.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use headsail_tailnet::commit::{Commit, Loaded, Revision, Since};

use crate::history::History;

pub mod history;
pub mod memory;
pub mod rows;
pub mod sqlite;

/// Keeps the rows of a tailnet. One clerk owns it and is its only writer.
pub trait Store: Send {
    /// Reads every row.
    ///
    /// # Errors
    /// What is locked, damaged, or says what no row can say; then the store is as it was.
    fn load(&mut self) -> Result<Loaded, Fault>;

    /// Writes a commit as one transaction. One that has nothing to write does not touch the disk.
    ///
    /// # Errors
    /// Then nothing was written. [`Fault::Conflict`]: another writer was faster, see [`Store::since`].
    fn commit(&mut self, commit: &Commit) -> Result<(), Fault>;

    /// What was committed after a revision: the commits, or every row if the change log does not go back that far.
    ///
    /// # Errors
    /// As for [`Store::load`].
    fn since(&mut self, revision: Revision) -> Result<Since, Fault>;

    /// Reads the change log from other threads, while this store goes on writing it.
    fn history(&self) -> Arc<dyn History>;

    /// Whether something can be saved now: for health checks. It writes, and changes nothing.
    ///
    /// # Errors
    /// What a commit would run into.
    fn ping(&mut self) -> Result<(), Fault>;
}

/// Why a store refuses: ours, never the asker's. The text says what the operator does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Another writer committed first.
    Conflict {
        /// The revision that the commit would have made.
        commit: Revision,
        /// The revision that is stored.
        stored: Revision,
    },
    /// Another program holds a lock on this file and did not let go in time.
    Busy(PathBuf),
    /// This file can't grow.
    Full(PathBuf),
    /// Anything else; a whole sentence.
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
                "database `{}` is locked by another program; find it with `fuser {0}` and end its transaction, \
                 the server goes on by itself",
                path.display()
            ),
            Fault::Full(path) => write!(
                f,
                "database `{}` can't be written because the disk or a quota is full; make room, \
                 the server goes on by itself",
                path.display()
            ),
            Fault::Other(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Fault {}
