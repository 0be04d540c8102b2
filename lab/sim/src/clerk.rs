//! The only writer, as the server's clerk works: decide, commit, apply, publish, answer. What of it is a rule is the
//! same code ([`headsail_tailnet::batch`]).

use std::sync::Arc;

use headsail_tailnet::batch::{Decided, Outcome};
use headsail_tailnet::change::{Change, Sequence};
use headsail_tailnet::command::{Command, Env};
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

    /// Decides commands that wait together, by the rules of the server's clerk. Returns the answers and what was applied.
    pub fn submit(&mut self, commands: Vec<Command>) -> (Vec<Outcome>, Vec<Change>) {
        let mut decided = Decided::on(&self.published);
        for command in commands {
            let mut fill = |buffer: &mut [u8]| self.rng.fill(buffer);
            let mut env = Env { now: self.now, rng: &mut fill };
            decided.add((self.parts.decide)(decided.tailnet(), command, &mut env));
        }
        let saved = self.disk.commit(&decided.changes()).is_ok() || !self.parts.commits_first;
        let settled = if saved { decided.saved() } else { decided.unsaved(&self.published) };
        self.published = settled.tailnet;
        (self.parts.note)(&mut self.deadlines, &self.published, &settled.changes);
        (settled.outcomes, settled.changes)
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
