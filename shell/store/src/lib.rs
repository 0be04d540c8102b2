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

use headsail_tailnet::change::{Change, Durability};
use headsail_wire::time::Time;

pub mod memory;
pub mod sqlite;

/// Counts the commits of a store; 0 is a store that nothing was committed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub u64);

impl Revision {
    fn next(self) -> Revision {
        Revision(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Everything that a store keeps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// The revision to expect with the first commit.
    pub revision: Revision,
    /// Every row: users, auth keys, API keys, nodes, tombstones, sequences, each by number or key.
    pub changes: Vec<Change>,
}

/// What is committed together.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The revision on which the changes were decided.
    pub expected: Revision,
    /// Who wanted them, for the change log.
    pub actor: &'a str,
    /// When they were decided.
    pub at: Time,
    /// The changes, in the order in which they are applied to memory.
    pub changes: &'a [Change],
}

impl<'a> Batch<'a> {
    /// The changes that are written.
    fn kept(&self) -> Vec<&'a Change> {
        self.changes.iter().filter(|c| c.durability() != Durability::Memory).collect()
    }
}

/// Keeps the rows of a tailnet. One clerk owns it and is its only writer.
pub trait Store: Send {
    /// Reads every row.
    ///
    /// # Errors
    /// What is locked, damaged, or says what no row can say; then the store is as it was.
    fn load(&mut self) -> Result<Loaded, Fault>;

    /// Writes the changes as one transaction and gives the revision that follows. Without anything to write it gives
    /// the expected revision and doesn't look at the disk.
    ///
    /// # Errors
    /// Then nothing was written, and the expected revision is still the one to expect.
    fn commit(&mut self, batch: &Batch<'_>) -> Result<Revision, Fault>;

    /// Whether something can be saved now: for health checks. It writes, and changes nothing.
    ///
    /// # Errors
    /// What a commit would run into.
    fn ping(&mut self) -> Result<(), Fault>;
}

/// Why a store refuses: ours, never the asker's. The text says what the operator does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Somebody else has committed since.
    Conflict {
        /// The revision that was expected.
        expected: Revision,
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
            Fault::Conflict { expected, stored } => write!(
                f,
                "the database was changed by somebody else (revision {stored}, expected {expected}); \
                 make sure that one server alone uses it, then restart this one"
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
