//! The world: machines around one clerk, and what the checks need to know about its history.

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

/// How many due rows the clerk handles in one batch.
const DUE_AT_ONCE: usize = 3;

/// A follower of the commits, and what it knows from them.
pub struct Follower {
    /// The version of the snapshot that it has read last.
    pub version: u64,
    pub tailnet: Tailnet,
}

/// The state of a simulation.
pub struct World {
    /// Decides what happens.
    pub rng: Rng,
    /// Randomness for the checks, so that the history of a seed does not depend on which checks run.
    pub check_rng: Rng,
    pub clerk: Clerk,
    pub parts: Parts,
    pub machines: Vec<Machine>,
    pub streams: Vec<Stream>,
    /// Every pre-auth key that was ever created, as its owner would enter it.
    pub shown_keys: Vec<(String, KeyDigest)>,
    /// The current configuration, as the server would read it at startup.
    pub settings: Arc<Settings>,
    /// Whether the store keeps the policy. Otherwise it is read from a file.
    pub keeps_policy: bool,
    /// The last policy that was accepted.
    pub policy_file: Option<String>,
    /// The digests of everything that was decided and sent, in order.
    pub transcript: Vec<u64>,
    /// Earlier snapshots, oldest first.
    pub past: VecDeque<Tailnet>,
    /// Every commit that was acknowledged, in order.
    pub ledger: Vec<Commit>,
    /// A follower that reads at random times.
    pub follower: Follower,
    checks: BTreeSet<Check>,
    gone: BTreeSet<(Sequence, u64)>,
    machine_of: BTreeMap<u64, MachineKey>,
    last_stream: u64,
}

impl World {
    /// The world at the beginning of a seed's history.
    pub fn new(seed: u64, parts: Parts, checks: &[Check]) -> World {
        let mut rng = Rng::new(seed);
        let settings = Arc::new(settings::any(&mut rng));
        let clerk_rng = Rng::new(rng.bits());
        // Rows are kept in chunks of 64. In some histories, the ids of nodes soon cross from one chunk to the next.
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

    /// Whether a check is selected.
    pub fn minds(&self, check: Check) -> bool {
        self.checks.contains(&check)
    }

    /// Fails unless `holds`, if the check is selected. `text` is what was observed.
    ///
    /// # Errors
    /// It does not hold.
    pub fn must(&self, check: Check, holds: bool, text: impl FnOnce() -> String) -> Result<(), Violation> {
        if holds || !self.minds(check) { Ok(()) } else { Err(Violation { check, text: text() }) }
    }

    /// A number for a new stream.
    pub fn next_stream(&mut self) -> StreamNo {
        self.last_stream += 1;
        StreamNo(self.last_stream)
    }

    /// Carries out one command.
    ///
    /// # Errors
    /// A check failed.
    pub fn ask(&mut self, asker: Actor, command: Command) -> Result<Outcome, Violation> {
        let mut answers = self.ask_together(vec![(asker, command)])?;
        Ok(answers.pop().unwrap_or(Outcome::Unsaved))
    }

    /// Carries out several commands as one batch.
    ///
    /// # Errors
    /// A check failed.
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

    /// Records the ids of rows, which must never be reused.
    ///
    /// # Errors
    /// An id was reused.
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
                    format!("id {} of {:?} was given out again", row.1, row.0)
                })?;
            }
            if let Change::Node(node) = change {
                let machine = *self.machine_of.entry(node.id.get()).or_insert(node.machine_key);
                self.must(Check::Numbers, machine == node.machine_key, || {
                    format!("node {} now belongs to another machine", node.id)
                })?;
            }
        }
        Ok(())
    }

    /// The clerk handles all rows that are due, a few at a time.
    ///
    /// # Errors
    /// There are always more due rows.
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
                    // The server's clerk tries again after a pause. Here the next step does.
                    return Ok(());
                }
                at_once = usize::MAX;
            }
        }
        self.must(Check::Deadlines, false, || "there are always more due rows".into())
    }

    /// Restarts the process on a working disk: all streams end, and the policy file is read again.
    ///
    /// # Errors
    /// A check failed.
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

/// A machine may only change its own nodes.
///
/// # Errors
/// It changed something else.
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
                // Full tables drop their oldest row, and a key is marked as used.
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
