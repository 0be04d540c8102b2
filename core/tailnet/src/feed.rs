//! What the clerk publishes: the tailnet as it is, and the last commits that led to it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::change::Change;
use crate::commit::{Commit, Since};
use crate::tailnet::Tailnet;

/// How many commits are kept for followers that are behind.
const COMMITS: usize = 64;
/// How many changes those commits may have together: a batch can touch every node.
const CHANGES: usize = 4096;

/// A snapshot and the commits before it. Reading never delays the clerk: a follower that is further behind than the commits go
/// back has missed some, and starts again from the snapshot.
#[derive(Clone)]
pub struct Feed {
    tailnet: Arc<Tailnet>,
    /// Commits in order, each with the version of the first snapshot that has it.
    recent: VecDeque<(u64, Arc<Commit>)>,
    /// Every commit after the snapshot of this version is in `recent`.
    complete_since: u64,
}

/// What a follower reads.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// The commits since it last read, in order.
    Commits(Vec<Arc<Commit>>),
    /// It was too slow, or rows were loaded again: only the snapshot says what is true now.
    Missed,
}

impl Feed {
    /// A feed that begins with a tailnet.
    pub fn new(tailnet: Tailnet) -> Feed {
        let complete_since = tailnet.version();
        Feed { tailnet: Arc::new(tailnet), recent: VecDeque::new(), complete_since }
    }

    /// The tailnet as it is.
    pub fn tailnet(&self) -> &Arc<Tailnet> {
        &self.tailnet
    }

    /// The next snapshot, with what led to it: what other writers did, then a commit of our own.
    #[must_use]
    pub fn next(&self, tailnet: Tailnet, others: Vec<Since>, own: Arc<Commit>) -> Feed {
        let mut next = Feed { tailnet: Arc::new(tailnet), ..self.clone() };
        for since in others {
            match since {
                Since::Commits(commits) => commits.into_iter().for_each(|commit| next.push(Arc::new(commit))),
                Since::Rows(_) => {
                    next.recent.clear();
                    next.complete_since = next.tailnet.version();
                }
            }
        }
        next.push(own);
        next
    }

    fn push(&mut self, commit: Arc<Commit>) {
        if commit.is_empty() {
            return;
        }
        // A policy is large once it is compiled, so an earlier one stays in memory only while it is the newest.
        if has_policy(&commit) {
            let earlier = self.recent.iter().rposition(|(_, commit)| has_policy(commit));
            self.forget(earlier.map_or(0, |at| at + 1));
        }
        self.recent.push_back((self.tailnet.version(), commit));
        let mut changes: usize = self.recent.iter().map(|(_, commit)| commit.changes().count()).sum();
        let mut too_many = self.recent.len().saturating_sub(COMMITS);
        for (at, (_, commit)) in self.recent.iter().enumerate() {
            if changes > CHANGES {
                too_many = too_many.max(at + 1);
            }
            changes -= commit.changes().count();
        }
        self.forget(too_many);
    }

    /// Drops the oldest commits.
    fn forget(&mut self, count: usize) {
        for (version, _) in self.recent.drain(..count) {
            self.complete_since = self.complete_since.max(version);
        }
    }

    /// What happened since the snapshot of a version.
    pub fn since(&self, version: u64) -> News {
        if version < self.complete_since {
            return News::Missed;
        }
        let later = self.recent.iter().filter(|(at, _)| *at > version);
        News::Commits(later.map(|(_, commit)| commit.clone()).collect())
    }
}

fn has_policy(commit: &Commit) -> bool {
    commit.changes().any(|change| matches!(change, Change::Policy(_)))
}
