//! A store without a disk, for tests and the simulation. Tests can make it fail.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use headsail_tailnet::change::{Change, Durability};
use headsail_tailnet::commit::{Commit, Loaded, Revision, Since};
use headsail_tailnet::model::settings::Settings;
use headsail_tailnet::tailnet::Tailnet;
use serde_json::{Map, Value};

use crate::history::{History, Query, Record, Subject, record_id};
use crate::rows::{Write, encode, to_json};
use crate::{Fault, Store};

/// How many commits are kept for [`Store::since`] and [`Store::history`].
const COMMITS: usize = 10_000;

/// Keeps rows in memory. Clones share their rows, so a test can keep one clone while a clerk owns another, start a second
/// clerk on the rows of the first, or let two clerks write at the same time.
#[derive(Clone)]
pub struct MemoryStore(Arc<Mutex<Kept>>);

struct Kept {
    rows: Tailnet,
    log: VecDeque<Commit>,
    faults: VecDeque<Fault>,
}

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        let rows = Tailnet::empty(Arc::new(Settings::basic()));
        MemoryStore(Arc::new(Mutex::new(Kept { rows, log: VecDeque::new(), faults: VecDeque::new() })))
    }
}

impl MemoryStore {
    /// Queues faults. Each call of `load`, `commit`, `since` or `ping` returns the next one, until none is left.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.kept().faults.extend(faults);
    }

    /// The revision of the last commit.
    pub fn revision(&self) -> Revision {
        self.kept().rows.revision()
    }

    /// Deletes the change log, as if all of it were too old.
    pub fn forget_log(&self) {
        self.kept().log.clear();
    }

    /// A poisoned lock is harmless: rows change in one step, which cannot panic.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn meet_fault(&mut self) -> Result<(), Fault> {
        self.faults.pop_front().map_or(Ok(()), Err)
    }
}

/// A commit without the changes that no store keeps.
fn kept(commit: &Commit) -> Commit {
    let entries = commit.entries.iter().map(|(actor, changes)| {
        let kept = changes.iter().filter(|c| c.durability() != Durability::Memory).cloned().collect();
        (actor.clone(), kept)
    });
    let entries = entries.filter(|(_, changes): &(_, Vec<Change>)| !changes.is_empty()).collect();
    Commit { entries, ..*commit }
}

impl Store for MemoryStore {
    fn load(&mut self) -> Result<Loaded, Fault> {
        let mut kept = self.kept();
        kept.meet_fault()?;
        Ok(Loaded { revision: kept.rows.revision(), changes: kept.rows.dump() })
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), Fault> {
        if !commit.is_written() {
            return Ok(());
        }
        let mut store = self.kept();
        store.meet_fault()?;
        let stored = store.rows.revision();
        if stored.next() != commit.revision {
            return Err(Fault::Conflict { commit: commit.revision, stored });
        }
        let commit = kept(commit);
        store.rows.apply_commit(&commit);
        store.log.push_back(commit);
        if store.log.len() > COMMITS {
            store.log.pop_front();
        }
        Ok(())
    }

    fn since(&mut self, revision: Revision) -> Result<Since, Fault> {
        let mut store = self.kept();
        store.meet_fault()?;
        let stored = store.rows.revision();
        let oldest = store.log.front().map_or(stored.next(), |commit| commit.revision);
        if revision.next() < oldest || revision > stored {
            return Ok(Since::Rows(Loaded { revision: stored, changes: store.rows.dump() }));
        }
        let later = store.log.iter().filter(|commit| commit.revision > revision);
        Ok(Since::Commits(later.cloned().collect()))
    }

    fn history(&self) -> Arc<dyn History> {
        Arc::new(self.clone())
    }

    fn ping(&mut self) -> Result<(), Fault> {
        self.kept().meet_fault()
    }
}

impl History for MemoryStore {
    fn read(&self, query: &Query) -> Result<Vec<Record>, Fault> {
        let mut records: Vec<Record> = Vec::new();
        for commit in &self.kept().log {
            let entries = commit.entries.iter().enumerate();
            let changes = entries.flat_map(|(entry, (actor, changes))| {
                changes.iter().map(move |change| (entry, actor, change))
            });
            for (position, (entry, actor, change)) in changes.enumerate() {
                let mut record = record(change)?;
                record.id = record_id(commit.revision, position);
                record.revision = commit.revision;
                record.entry = u64::try_from(entry).unwrap_or(u64::MAX);
                record.at = commit.at;
                record.actor = actor.clone();
                let kind = record.kind.strip_suffix("-deleted").unwrap_or(&record.kind);
                let same = |r: &&Record| r.kind == kind && r.subject == record.subject;
                record.before = records.iter().rev().find(same).map(|r| r.row.clone());
                records.push(record);
            }
        }
        records.retain(|record| query.matches(record));
        if !query.oldest_first {
            records.reverse();
        }
        records.truncate(usize::try_from(query.limit).unwrap_or(usize::MAX));
        Ok(records.into_iter().map(Record::without_secrets).collect())
    }
}

/// The record of a change, without its id, time and actor.
fn record(change: &Change) -> Result<Record, Fault> {
    let write = encode::write(change).map_err(|e| Fault::Other(format!("a change has no JSON form: {e}")))?;
    let row = match write {
        Some(Write::Put(_, columns) | Write::Update(_, columns)) => to_json(&columns),
        Some(Write::Policy(text, at)) => {
            Map::from_iter([("data".into(), Value::from(text)), ("created_at".into(), at.into())])
        }
        Some(Write::Delete(..) | Write::Sequence(..)) | None => Map::new(),
    };
    let subject = Subject::of(change);
    Ok(Record {
        id: 0,
        revision: Revision::default(),
        entry: 0,
        at: headsail_wire::time::Time::EPOCH,
        actor: headsail_tailnet::actor::Actor::Server,
        kind: change.kind().to_owned(),
        subject: subject.id,
        node: subject.node,
        user: subject.user,
        row,
        before: None,
    })
}
