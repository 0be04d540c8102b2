//! A committed batch: what became true together, and who caused each part of it.

use std::fmt;

use headsail_wire::time::Time;

use crate::actor::Actor;
use crate::change::{Change, Durability};

/// Counts the commits of a store; 0 is a store without any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision after one more commit.
    #[must_use]
    pub fn next(self) -> Revision {
        Revision(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The changes of one batch. The clerk makes it, the store writes it, memory applies it, and every follower receives it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commit {
    /// The store's revision once this commit is written. A commit that writes nothing leaves the revision as it was.
    pub revision: Revision,
    /// When it was decided.
    pub at: Time,
    /// The changes of each command, in the order in which they apply, with who submitted it. No list is empty.
    pub entries: Vec<(Actor, Vec<Change>)>,
}

impl Commit {
    /// A commit on top of `stored`: the next revision if any change is to be written, else the same one.
    pub fn on(stored: Revision, at: Time, entries: Vec<(Actor, Vec<Change>)>) -> Commit {
        let mut commit = Commit { revision: stored, at, entries };
        if commit.is_written() {
            commit.revision = stored.next();
        }
        commit
    }

    /// The revision on which a commit that is to be written was decided.
    pub fn parent(&self) -> Revision {
        Revision(self.revision.0.saturating_sub(1))
    }

    /// Every change, in the order in which they apply.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.entries.iter().flat_map(|(_, changes)| changes)
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a store has anything to write.
    pub fn is_written(&self) -> bool {
        self.changes().any(|change| change.durability() != Durability::Memory)
    }

    /// Whether the commit must survive a power cut once it is acknowledged, so that a store syncs it before it says yes.
    /// Volatile facts alone need not: clients report them again.
    pub fn is_durable(&self) -> bool {
        self.changes().any(|change| change.durability() == Durability::Durable)
    }
}

/// Every row that a store keeps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// The revision of these rows.
    pub revision: Revision,
    /// The rows as the changes that create them.
    pub changes: Vec<Change>,
}

/// What happened in a store since a revision.
#[derive(Clone, Debug, PartialEq)]
pub enum Since {
    /// The commits after that revision, oldest first.
    Commits(Vec<Commit>),
    /// Every row as it is now: the change log does not go back that far.
    Rows(Loaded),
}
