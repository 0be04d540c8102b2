//! The world: machines around one clerk, and what is remembered of the history to check it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use headsail_tailnet::actor::Actor;
use headsail_tailnet::batch::{Outcome, Request};
use headsail_tailnet::change::{Change, Sequence};
use headsail_tailnet::command::Command;
use headsail_tailnet::commit::{Commit, Revision, Since};
use headsail_tailnet::model::key::KeyDigest;
use headsail_tailnet::model::node::StreamNo;
use headsail_tailnet::model::settings::Settings;
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::keys::MachineKey;
use headsail_wire::time::Time;

use crate::clerk::{Answered, Clerk};
use crate::law::{self, Check, Violation};
use crate::machine::Machine;
use crate::parts::Parts;
use crate::rng::Rng;
use crate::settings;
use crate::stream::{Stream, digest};

/// How many rows the clerk handles of those that are due at once.
const DUE_AT_ONCE: usize = 3;

/// Whoever follows the commits, and what it knows by them.
pub struct Follower {
    /// The snapshot that it has seen last.
    pub version: u64,
    /// What it knows.
    pub tailnet: Tailnet,
}

/// Everything there is.
pub struct World {
    /// Chance: decides what happens.
    pub rng: Rng,
    /// Chance of the checks alone, so that the history of a seed is the same for each of them.
    pub check_rng: Rng,
    /// The server.
    pub clerk: Clerk,
    /// The pieces in use.
    pub parts: Parts,
    /// The clients' machines.
    pub machines: Vec<Machine>,
    /// The open streams.
    pub streams: Vec<Stream>,
    /// Every auth key that was ever made, as its holder would show it.
    pub shown_keys: Vec<(String, KeyDigest)>,
    /// The configuration of now, as it would be read at a start.
    pub settings: Arc<Settings>,
    /// Whether the policy is kept in the store; else it is read from a file.
    pub keeps_policy: bool,
    /// The last policy that was accepted.
    pub policy_file: Option<String>,
    /// Digests of everything that was decided and sent, in order.
    pub transcript: Vec<u64>,
    /// Earlier snapshots, the oldest first.
    pub past: VecDeque<Tailnet>,
    /// Every commit that a writer was told is saved, in order.
    pub ledger: Vec<Commit>,
    /// Who follows the commits, at its own pace.
    pub follower: Follower,
    checks: BTreeSet<Check>,
    gone: BTreeSet<(Sequence, u64)>,
    machine_of: BTreeMap<u64, MachineKey>,
    last_stream: u64,
}

impl World {
    /// The beginning of a seed's history.
    pub fn new(seed: u64, parts: Parts, checks: &[Check]) -> World {
        let mut rng = Rng::new(seed);
        let settings = Arc::new(settings::any(&mut rng));
        let clerk_rng = Rng::new(rng.bits());
        // Some tailnets are old: rows are kept in chunks of 64, and the step from one to the next belongs to the test.
        let first = if seed.is_multiple_of(3) { 60 } else { 1 };
        let clerk = Clerk::new(settings.clone(), first, parts, clerk_rng, Time::from_secs(1_750_000_000));
        let ledger = match clerk.disk.since(Revision::default()) {
            Since::Commits(commits) => commits,
            Since::Rows(_) => Vec::new(),
        };
        let follower = Follower { version: clerk.published.version(), tailnet: clerk.published.clone() };
        World {
            clerk,
            ledger,
            follower,
            rng,
            check_rng: Rng::new(!seed),
            parts,
            machines: Vec::new(),
            streams: Vec::new(),
            shown_keys: Vec::new(),
            settings,
            keeps_policy: seed.is_multiple_of(2),
            policy_file: None,
            transcript: Vec::new(),
            past: VecDeque::new(),
            checks: checks.iter().copied().collect(),
            gone: BTreeSet::new(),
            machine_of: BTreeMap::new(),
            last_stream: 0,
        }
    }

    /// Whether this history is played for a check.
    pub fn minds(&self, check: Check) -> bool {
        self.checks.contains(&check)
    }

    /// `holds`, unless this history is not played for the check; `text` is what was seen otherwise.
    ///
    /// # Errors
    /// It doesn't hold.
    pub fn must(&self, check: Check, holds: bool, text: impl FnOnce() -> String) -> Result<(), Violation> {
        if holds || !self.minds(check) { Ok(()) } else { Err(Violation { check, text: text() }) }
    }

    /// A number for a new stream.
    pub fn next_stream(&mut self) -> StreamNo {
        self.last_stream += 1;
        StreamNo(self.last_stream)
    }

    /// One asker, one command.
    ///
    /// # Errors
    /// What doesn't hold after it.
    pub fn ask(&mut self, asker: Actor, command: Command) -> Result<Outcome, Violation> {
        let mut answers = self.ask_together(vec![(asker, command)])?;
        Ok(answers.pop().unwrap_or(Outcome::Unsaved))
    }

    /// Several commands that the clerk finds waiting at once.
    ///
    /// # Errors
    /// What doesn't hold after them.
    pub fn ask_together(&mut self, commands: Vec<(Actor, Command)>) -> Result<Vec<Outcome>, Violation> {
        let requests: Vec<Request> =
            commands.into_iter().map(|(actor, command)| Request { actor, command }).collect();
        let answered = self.clerk.submit(&requests);
        let Answered { outcomes, commit, .. } = &answered;
        if self.minds(Check::SameBytes) {
            self.transcript.push(digest(format!("{outcomes:?} {commit:?}").as_bytes()));
        }
        let works = !self.clerk.disk.broken;
        self.must(Check::Writers, !works || !outcomes.contains(&Outcome::Unsaved), || {
            "the disk works, but a request could not be saved".into()
        })?;
        self.remember(commit.changes())?;
        if self.minds(Check::OwnNodesOnly) {
            only_own_nodes(&answered.before, commit)?;
        }
        if answered.saved && commit.is_written() {
            self.ledger.push(answered.commit);
        }
        Ok(answered.outcomes)
    }

    /// Numbers that were given belong to one row for ever.
    ///
    /// # Errors
    /// A number is given again.
    pub fn remember<'c>(&mut self, applied: impl IntoIterator<Item = &'c Change>) -> Result<(), Violation> {
        for change in applied {
            let (row, is_gone) = match change {
                Change::User(u) => ((Sequence::Users, u.id.get()), false),
                Change::UserGone(id) => ((Sequence::Users, id.get()), true),
                Change::Node(n) => ((Sequence::Nodes, n.id.get()), false),
                Change::NodeGone(id) => ((Sequence::Nodes, id.get()), true),
                Change::AuthKey(k) => ((Sequence::AuthKeys, k.id.get()), false),
                Change::AuthKeyGone(id) => ((Sequence::AuthKeys, id.get()), true),
                Change::ApiKey(k) => ((Sequence::ApiKeys, k.id.get()), false),
                Change::ApiKeyGone(id) => ((Sequence::ApiKeys, id.get()), true),
                _ => continue,
            };
            if is_gone {
                self.gone.insert(row);
            } else {
                let again = self.gone.contains(&row);
                self.must(Check::Numbers, !again, || {
                    format!("number {} of {:?} was given again", row.1, row.0)
                })?;
            }
            if let Change::Node(node) = change {
                let machine = *self.machine_of.entry(node.id.get()).or_insert(node.machine_key);
                self.must(Check::Numbers, machine == node.machine_key, || {
                    format!("node {} went to another machine", node.id)
                })?;
            }
        }
        Ok(())
    }

    /// The clerk wakes at the deadline and looks at what is due, a few rows at a time.
    ///
    /// # Errors
    /// It never comes to an end.
    pub fn handle_due(&mut self) -> Result<(), Violation> {
        let mut at_once = DUE_AT_ONCE;
        for _ in 0..1000 {
            let due = self.clerk.deadlines.due(self.clerk.now, at_once);
            if due.is_empty() {
                return Ok(());
            }
            let commands = due.into_iter().map(|row| (Actor::Clock, Command::Due(row))).collect();
            if self.ask_together(commands)?.contains(&Outcome::Unsaved) {
                if at_once == usize::MAX {
                    // The real clerk waits and tries again; here the next step does.
                    return Ok(());
                }
                at_once = usize::MAX;
            }
        }
        self.must(Check::Deadlines, false, || "due rows never come to an end".into())
    }

    /// The process ends and starts again, on a disk that works: the streams are gone, the policy file is read.
    ///
    /// # Errors
    /// What doesn't hold after it.
    pub fn restart(&mut self) -> Result<(), Violation> {
        self.streams.clear();
        self.past.clear();
        (self.clerk.disk.broken, self.clerk.disk.missed) = (false, false);
        let kept = self.clerk.disk.revision();
        self.ledger.retain(|commit| commit.revision <= kept);
        self.clerk.restart(self.settings.clone());
        let written = self.clerk.disk.since(kept);
        if let Since::Commits(commits) = written {
            self.ledger.extend(commits);
        }
        self.follower.version = self.clerk.published.version();
        self.follower.tailnet = self.clerk.published.clone();
        match self.policy_file.clone().filter(|_| !self.keeps_policy) {
            Some(text) => self.ask(Actor::Server, Command::SetPolicy { text, kept: false }).map(drop),
            None => Ok(()),
        }
    }
}

/// What a machine causes concerns its own nodes, and is recorded under its own name.
///
/// # Errors
/// A row of somebody else that it changed.
fn only_own_nodes(before: &Tailnet, commit: &Commit) -> Result<(), Violation> {
    let mut now = before.clone();
    for (actor, changes) in &commit.entries {
        let was = now.clone();
        now.apply(changes);
        let Actor::Machine(key) = actor else { continue };
        let of_machine = |id| [&was, &now].iter().filter_map(|t| t.node(id)).all(|n| n.machine_key == *key);
        for change in changes {
            let own = match change {
                Change::Node(node) => node.machine_key == *key && of_machine(node.id),
                Change::NodeGone(id) | Change::Contact(id, _) | Change::Presence(id, _) => of_machine(*id),
                Change::Tombstone(stone) => stone.machine_key == *key,
                Change::Ticket(ticket) => ticket.asking.machine_key == *key,
                // Bounded tables make room, and a key is marked as used.
                Change::TombstoneGone(_)
                | Change::TicketGone(_)
                | Change::SshCheck(_)
                | Change::SshCheckGone(_)
                | Change::AuthKey(_) => true,
                Change::User(_)
                | Change::UserGone(_)
                | Change::AuthKeyGone(_)
                | Change::ApiKey(_)
                | Change::ApiKeyGone(_)
                | Change::Policy(_)
                | Change::Settings(_)
                | Change::NextId(..) => false,
            };
            law::must(Check::OwnNodesOnly, own, || {
                format!("a command of {actor} made the change {change:?}")
            })?;
        }
    }
    Ok(())
}
