//! What the viewers record while a load runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use headsail_netmap::NetMap;

use crate::client::{Directory, Received};
use crate::{Error, Result};

/// How often a waiting load checks the board.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// Limits on the notes and errors that are kept.
const MAX_NOTES: usize = 4_000_000;
const MAX_ERRORS: usize = 8;
/// No node is watched, or no number of nodes is expected.
const NOTHING: u64 = u64::MAX;

/// An event on a viewer's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The first map arrived.
    FirstMap,
    /// The stream has now mentioned the expected number of nodes.
    Complete,
    /// The stream mentioned the watched node for the first time.
    Saw,
    /// The stream mentioned a newer probe endpoint, with this number.
    Probe(u16),
    /// The stream ended without having been cut by the load.
    Ended,
}

/// An event, with its viewer and time.
#[derive(Clone, Copy, Debug)]
pub struct Note {
    /// The viewer's index in the fleet.
    pub viewer: usize,
    pub what: What,
    /// When the last byte of the frame had arrived.
    pub at: Instant,
}

/// The notes of all viewers, and how much data they received.
pub struct Board {
    pub directory: Directory,
    notes: Mutex<Vec<Note>>,
    errors: Mutex<Vec<String>>,
    expected: AtomicU64,
    watched: AtomicU64,
    maps: Counter,
    deltas: Counter,
    newest_probe: AtomicU16,
    keeps_views: AtomicBool,
    views: Mutex<BTreeMap<usize, NetMap>>,
}

#[derive(Default)]
struct Counter {
    frames: AtomicU64,
    bytes: AtomicU64,
}

/// Frames of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub frames: u64,
    /// Compressed bytes, including the length prefixes.
    pub bytes: u64,
}

impl Counter {
    fn add(&self, frame: &Received) {
        self.frames.fetch_add(1, Relaxed);
        self.bytes.fetch_add(frame.payload.len() as u64 + 4, Relaxed);
    }

    fn wipe(&self) {
        self.frames.store(0, Relaxed);
        self.bytes.store(0, Relaxed);
    }

    fn traffic(&self) -> Traffic {
        Traffic { frames: self.frames.load(Relaxed), bytes: self.bytes.load(Relaxed) }
    }
}

impl Board {
    pub fn new(directory: Directory) -> Board {
        Board {
            directory,
            notes: Mutex::default(),
            errors: Mutex::default(),
            expected: AtomicU64::new(NOTHING),
            watched: AtomicU64::new(NOTHING),
            maps: Counter::default(),
            deltas: Counter::default(),
            newest_probe: AtomicU16::new(0),
            keeps_views: AtomicBool::new(false),
            views: Mutex::default(),
        }
    }

    /// Deletes all notes and resets the counters of frames and bytes.
    pub fn wipe(&self) {
        self.notes().clear();
        self.maps.wipe();
        self.deltas.wipe();
    }

    /// Makes a viewer complete once its stream has mentioned this many other nodes.
    pub fn expect(&self, others: usize) {
        self.expected.store(others as u64, Relaxed);
    }

    /// Makes every viewer note when its stream first mentions this node.
    pub fn watch(&self, node: usize) {
        self.watched.store(node as u64, Relaxed);
    }

    /// The first frames of streams since the last wipe.
    pub fn maps(&self) -> Traffic {
        self.maps.traffic()
    }

    /// All later frames since the last wipe.
    pub fn deltas(&self) -> Traffic {
        self.deltas.traffic()
    }

    /// The number of the newest probe endpoint that any stream has ever mentioned; 0 before the first.
    pub fn newest_probe(&self) -> u16 {
        self.newest_probe.load(Relaxed)
    }

    /// From now on, decodes every frame fully and applies it as a client would. Meant for small fleets.
    pub fn keep_views(&self) {
        self.keeps_views.store(true, Relaxed);
    }

    /// The map that a node's stream has built so far, if views are kept.
    pub fn view(&self, viewer: usize) -> Option<NetMap> {
        self.views.lock().unwrap_or_else(|e| e.into_inner()).get(&viewer).cloned()
    }

    fn apply(&self, viewer: usize, frame: &Received, first: bool) -> Result<()> {
        let mut views = self.views.lock().unwrap_or_else(|e| e.into_inner());
        let mut view = views.remove(&viewer).filter(|_| !first);
        self.directory.apply(&mut view, &frame.payload)?;
        views.extend(view.map(|view| (viewer, view)));
        Ok(())
    }

    pub fn notes(&self) -> MutexGuard<'_, Vec<Note>> {
        self.notes.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The first few errors of viewers.
    pub fn errors(&self) -> Vec<String> {
        self.errors.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Keeps an error if it is one of the first few.
    pub fn complain(&self, error: &Error) {
        let mut errors = self.errors.lock().unwrap_or_else(|e| e.into_inner());
        if errors.len() < MAX_ERRORS {
            errors.push(error.to_string());
        }
    }

    pub fn note(&self, viewer: usize, what: What, at: Instant) {
        let mut notes = self.notes();
        if notes.len() < MAX_NOTES {
            notes.push(Note { viewer, what, at });
        }
    }

    /// Waits until there are `wanted` notes that `pick` accepts, or until `patience` is over. Returns those found.
    pub async fn gather(&self, wanted: usize, patience: Duration, pick: impl Fn(What) -> bool) -> Vec<Note> {
        let deadline = Instant::now() + patience;
        let mut found = Vec::new();
        let mut checked = 0;
        loop {
            {
                let notes = self.notes();
                found.extend(notes.iter().skip(checked).filter(|n| pick(n.what)));
                checked = notes.len();
            }
            if found.len() >= wanted || Instant::now() >= deadline {
                return found;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// What one stream has mentioned so far.
pub struct Viewer<'a> {
    board: &'a Board,
    viewer: usize,
    seen: Vec<bool>,
    count: u64,
    newest_probe: Option<u16>,
    began: bool,
}

impl<'a> Viewer<'a> {
    /// A new stream, in a fleet of `size` nodes.
    pub fn new(board: &'a Board, viewer: usize, size: usize) -> Viewer<'a> {
        Viewer { board, viewer, seen: vec![false; size], count: 0, newest_probe: None, began: false }
    }

    /// Reads one frame and returns whether it was the first map.
    ///
    /// # Errors
    /// The frame cannot be decoded.
    pub fn read(&mut self, frame: &Received) -> Result<bool> {
        let scan = self.board.directory.scan(&frame.payload)?;
        if scan.keep_alive {
            self.board.deltas.add(frame);
            return Ok(false);
        }
        let first = !std::mem::replace(&mut self.began, true);
        if first { &self.board.maps } else { &self.board.deltas }.add(frame);
        if self.board.keeps_views.load(Relaxed) {
            self.board.apply(self.viewer, frame, first)?;
        }
        if first {
            self.board.note(self.viewer, What::FirstMap, frame.at);
        }
        for node in &scan.nodes {
            self.saw(*node as usize, frame.at);
        }
        if first && self.count == 0 && self.board.expected.load(Relaxed) == 0 {
            self.board.note(self.viewer, What::Complete, frame.at);
        }
        if scan.probe > self.newest_probe {
            self.newest_probe = scan.probe;
            self.board.newest_probe.fetch_max(scan.probe.unwrap_or_default(), Relaxed);
            self.board.note(self.viewer, What::Probe(scan.probe.unwrap_or_default()), frame.at);
        }
        Ok(first)
    }

    /// Records that the stream mentioned a node. The viewer itself does not count.
    fn saw(&mut self, node: usize, at: Instant) {
        if node == self.viewer {
            return;
        }
        let Some(seen @ false) = self.seen.get_mut(node) else { return };
        *seen = true;
        self.count += 1;
        if self.board.watched.load(Relaxed) == node as u64 {
            self.board.note(self.viewer, What::Saw, at);
        }
        if self.count == self.board.expected.load(Relaxed) {
            self.board.note(self.viewer, What::Complete, at);
        }
    }
}
