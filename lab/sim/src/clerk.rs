//! A clerk like the server's: decide, commit, apply, publish, answer. Both use the same rules ([`headsail_tailnet::batch`]).

use std::sync::Arc;

use headsail_tailnet::actor::Actor;
use headsail_tailnet::batch::{Outcome, Request, Saved, settle};
use headsail_tailnet::change::{Change, Sequence};
use headsail_tailnet::command::Env;
use headsail_tailnet::commit::{Commit, Since};
use headsail_tailnet::deadline::Deadlines;
use headsail_tailnet::feed::Feed;
use headsail_tailnet::model::settings::Settings;
use headsail_tailnet::tailnet::{Tailnet, revive};
use headsail_wire::time::Time;

use crate::disk::{Disk, Refused};
use crate::parts::Parts;
use crate::rng::Rng;

/// The clerk of the world, with its memory and its disk.
pub struct Clerk {
    pub now: Time,
    /// The current snapshot.
    pub published: Tailnet,
    pub feed: Feed,
    /// What survives a restart.
    pub disk: Disk,
    pub deadlines: Deadlines,
    parts: Parts,
    rng: Rng,
}

/// The outcome of a batch.
pub struct Answered {
    /// The tailnet on which the batch was decided, including what other writers had committed.
    pub before: Tailnet,
    /// The outcome of each request, in order.
    pub outcomes: Vec<Outcome>,
    pub commit: Commit,
    /// Whether the commit was saved.
    pub saved: bool,
}

impl Clerk {
    /// A clerk on an empty disk. The ids of nodes start at `first`.
    pub fn new(settings: Arc<Settings>, first: u64, parts: Parts, rng: Rng, now: Time) -> Clerk {
        let numbers = vec![Change::NextId(Sequence::Nodes, first)];
        let mut published = Tailnet::empty(settings);
        let commit = Commit::on(published.revision(), now, vec![(Actor::Server, numbers)]);
        let mut disk = Disk::default();
        disk.commit(&commit, (parts.is_synced)(&commit)).ok();
        published.apply_commit(&commit);
        let feed = Feed::new(published.clone());
        Clerk { now, published, feed, disk, deadlines: Deadlines::default(), parts, rng }
    }

    /// Carries out a batch of requests.
    pub fn submit(&mut self, requests: &[Request]) -> Answered {
        let Clerk { now, published, disk, parts, rng, .. } = self;
        let decide = |t: &Tailnet, command: &_| {
            let mut fill = |buffer: &mut [u8]| rng.fill(buffer);
            (parts.decide)(t, command, &mut Env { now: *now, rng: &mut fill })
        };
        let save = |commit: &Commit| match disk.commit(commit, (parts.is_synced)(commit)) {
            Ok(()) => Saved::Yes,
            Err(Refused::Full) if !parts.commits_first => Saved::Yes,
            Err(Refused::Full) => Saved::No(()),
            Err(Refused::Conflict) => {
                Saved::Conflict { since: (parts.catch_up)(disk, commit.parent()), fault: () }
            }
        };
        let settled = settle(published, requests, *now, decide, save);
        let mut before = published.clone();
        settled.others.iter().for_each(|since| before.catch_up(since));
        self.note(&settled.tailnet, &settled.others);
        (self.parts.note)(&mut self.deadlines, &settled.tailnet, &settled.commit);
        self.published = settled.tailnet;
        self.feed = self.feed.next(self.published.clone(), settled.others, Arc::new(settled.commit.clone()));
        let saved = settled.fault.is_none();
        Answered { before, outcomes: settled.outcomes, commit: settled.commit, saved }
    }

    /// Updates the deadlines for what other writers have committed.
    fn note(&mut self, tailnet: &Tailnet, others: &[Since]) {
        for since in others {
            match since {
                Since::Commits(commits) => {
                    commits.iter().for_each(|commit| (self.parts.note)(&mut self.deadlines, tailnet, commit));
                }
                Since::Rows(_) => self.deadlines = Deadlines::of(tailnet),
            }
        }
    }

    /// Restarts from the rows on disk.
    pub fn restart(&mut self, settings: Arc<Settings>) {
        let mut loaded = self.disk.load();
        loaded.changes = (self.parts.load)(loaded.changes);
        self.published = Tailnet::of(settings.clone(), &loaded);
        let revived: Vec<Change> = self
            .published
            .nodes()
            .map(|n| Change::Presence(n.id, revive(n.presence, self.now, settings.grace_millis)))
            .collect();
        if !revived.is_empty() {
            let commit = Commit::on(self.published.revision(), self.now, vec![(Actor::Server, revived)]);
            self.published.apply_commit(&commit);
            self.disk.commit(&commit, (self.parts.is_synced)(&commit)).ok();
        }
        self.feed = Feed::new(self.published.clone());
        self.deadlines = Deadlines::of(&self.published);
    }
}
