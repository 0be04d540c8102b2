//! The only writer, as the server's clerk works: decide, commit, apply, publish, answer.

use std::sync::Arc;

use headsail_tailnet::change::{Change, Durability, Sequence};
use headsail_tailnet::command::{Command, Env, Rejection};
use headsail_tailnet::deadline::Deadlines;
use headsail_tailnet::model::settings::Settings;
use headsail_tailnet::tailnet::{Tailnet, revive};
use headsail_wire::keys::MachineKey;
use headsail_wire::time::Time;

use crate::disk::Disk;
use crate::parts::Parts;
use crate::rng::Rng;

/// Who issues a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A machine, by its key.
    Machine(MachineKey),
    /// An administrator, the clock, or the process itself.
    Server,
}

/// What the asker hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It is so.
    Done,
    /// It is not; the asker's fault.
    Rejected(Rejection),
    /// It is not; the store's fault.
    Fault,
}

/// The clerk of the model world, with its memory and its disk.
pub struct Clerk {
    /// The clock.
    pub now: Time,
    /// What readers see.
    pub published: Tailnet,
    /// What survives a restart.
    pub disk: Disk,
    /// The due dates.
    pub deadlines: Deadlines,
    parts: Parts,
    rng: Rng,
}

impl Clerk {
    /// A clerk on a disk without rows, where nodes are numbered from `first` on.
    pub fn new(settings: Arc<Settings>, first: u64, parts: Parts, rng: Rng, now: Time) -> Clerk {
        let numbers = [Change::NextId(Sequence::Nodes, first)];
        let disk = Disk::with(&numbers);
        let mut published = Tailnet::empty(settings);
        published.apply(&numbers);
        Clerk { now, published, disk, deadlines: Deadlines::default(), parts, rng }
    }

    /// Decides commands one on top of the other and commits them as one transaction. If the disk refuses, whatever
    /// had to be on disk first has not happened; the rest goes on. Returns the answers and what was applied.
    pub fn submit(&mut self, commands: Vec<Command>) -> (Vec<Answer>, Vec<Change>) {
        let mut next = self.published.clone();
        let mut decided = Vec::new();
        for command in commands {
            let mut fill = |buffer: &mut [u8]| self.rng.fill(buffer);
            let outcome = (self.parts.decide)(&next, command, &mut Env { now: self.now, rng: &mut fill });
            if let Ok(changes) = &outcome {
                next.apply(changes);
            }
            decided.push(outcome);
        }
        let changes: Vec<Change> = decided.iter().flatten().flatten().cloned().collect();
        let written = match changes.iter().any(is_durable) {
            true => self.disk.commit(&changes).is_ok() || !self.parts.commits_first,
            false => false,
        };
        let mut answers = Vec::new();
        let mut applied = Vec::new();
        for outcome in decided {
            answers.push(match outcome {
                Err(rejection) => Answer::Rejected(rejection),
                Ok(changes) if !written && changes.iter().any(is_durable) => Answer::Fault,
                Ok(changes) => {
                    applied.extend(changes);
                    Answer::Done
                }
            });
        }
        if !written {
            self.disk.write_along(&applied);
        }
        if !applied.is_empty() {
            self.published.apply(&applied);
            (self.parts.note)(&mut self.deadlines, &self.published, &applied);
        }
        (answers, applied)
    }

    /// Starts again from what is on disk.
    pub fn restart(&mut self, settings: Arc<Settings>) {
        self.published = Tailnet::empty(settings.clone());
        self.published.apply(&(self.parts.load)(self.disk.load()));
        let revived: Vec<Change> = self
            .published
            .nodes()
            .map(|n| Change::Presence(n.id, revive(n.presence, self.now, settings.grace_millis)))
            .collect();
        self.published.apply(&revived);
        self.disk.write_along(&revived);
        self.deadlines = Deadlines::of(&self.published);
    }
}

fn is_durable(change: &Change) -> bool {
    change.durability() == Durability::Durable
}
