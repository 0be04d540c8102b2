//! A store without a disk, for tests and the simulation. It fails when it is told to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use headsail_tailnet::change::Change;
use headsail_tailnet::model::settings::Settings;
use headsail_tailnet::tailnet::Tailnet;

use crate::{Batch, Fault, Loaded, Revision, Store};

/// Keeps rows in memory. Clones share them, so that a test can hold one end while a clerk owns the other, and can
/// start a second clerk on what the first one left.
#[derive(Clone)]
pub struct MemoryStore(Arc<Mutex<Kept>>);

struct Kept {
    revision: Revision,
    rows: Tailnet,
    faults: VecDeque<Fault>,
}

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        let rows = Tailnet::empty(Arc::new(Settings::basic()));
        MemoryStore(Arc::new(Mutex::new(Kept {
            revision: Revision::default(),
            rows,
            faults: VecDeque::new(),
        })))
    }
}

impl MemoryStore {
    /// Puts faults ahead: each call of `load`, `commit` or `ping` meets the next one, and then all is well.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.kept().faults.extend(faults);
    }

    /// What the last commit has led to.
    pub fn revision(&self) -> Revision {
        self.kept().revision
    }

    /// The rows stay whole when a thread that held them has panicked: they change in one step that doesn't.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn meet_fault(&mut self) -> Result<(), Fault> {
        self.faults.pop_front().map_or(Ok(()), Err)
    }
}

impl Store for MemoryStore {
    fn load(&mut self) -> Result<Loaded, Fault> {
        let mut kept = self.kept();
        kept.meet_fault()?;
        Ok(Loaded { revision: kept.revision, changes: kept.rows.dump() })
    }

    fn commit(&mut self, batch: &Batch<'_>) -> Result<Revision, Fault> {
        let changes: Vec<Change> = batch.kept().into_iter().cloned().collect();
        if changes.is_empty() {
            return Ok(batch.expected);
        }
        let mut kept = self.kept();
        kept.meet_fault()?;
        if kept.revision != batch.expected {
            return Err(Fault::Conflict { expected: batch.expected, stored: kept.revision });
        }
        kept.rows.apply(&changes);
        kept.revision = kept.revision.next();
        Ok(kept.revision)
    }

    fn ping(&mut self) -> Result<(), Fault> {
        self.kept().meet_fault()
    }
}
