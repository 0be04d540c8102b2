//! The world: machines around one clerk, and what is remembered of the history to check it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use headsail_tailnet::batch::Outcome;
use headsail_tailnet::change::{Change, Sequence};
use headsail_tailnet::command::Command;
use headsail_tailnet::model::key::KeyDigest;
use headsail_tailnet::model::node::{Node, StreamNo};
use headsail_tailnet::model::settings::Settings;
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::keys::MachineKey;
use headsail_wire::time::Time;

use crate::clerk::{Asker, Clerk};
use crate::law::{self, Check, Violation};
use crate::machine::Machine;
use crate::parts::Parts;
use crate::rng::Rng;
use crate::settings;
use crate::stream::{Stream, digest};

/// How many rows the clerk handles of those that are due at once.
const DUE_AT_ONCE: usize = 3;

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
        World {
            clerk: Clerk::new(settings.clone(), first, parts, clerk_rng, Time::from_secs(1_750_000_000)),
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
    pub fn ask(&mut self, asker: Asker, command: Command) -> Result<Outcome, Violation> {
        let mut answers = self.ask_together(vec![(asker, command)])?;
        Ok(answers.pop().unwrap_or(Outcome::Unsaved))
    }

    /// Several commands that the clerk finds waiting at once.
    ///
    /// # Errors
    /// What doesn't hold after them.
    pub fn ask_together(&mut self, commands: Vec<(Asker, Command)>) -> Result<Vec<Outcome>, Violation> {
        let (askers, commands): (Vec<Asker>, Vec<Command>) = commands.into_iter().unzip();
        let before = self.clerk.published.clone();
        let (answers, applied) = self.clerk.submit(commands);
        if self.minds(Check::SameBytes) {
            self.transcript.push(digest(format!("{answers:?} {applied:?}").as_bytes()));
        }
        self.remember(&applied)?;
        if self.minds(Check::OwnNodesOnly) && !askers.contains(&Asker::Server) {
            only_own_nodes(&before, &self.clerk.published, &askers)?;
        }
        Ok(answers)
    }

    /// Numbers that were given belong to one row for ever.
    fn remember(&mut self, applied: &[Change]) -> Result<(), Violation> {
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
        for _ in 0..1000 {
            let due = self.clerk.deadlines.due(self.clerk.now, DUE_AT_ONCE);
            if due.is_empty() {
                return Ok(());
            }
            let commands = due.into_iter().map(|row| (Asker::Server, Command::Due(row))).collect();
            if self.ask_together(commands)?.contains(&Outcome::Unsaved) {
                // The real clerk waits and tries again; here the next step does.
                return Ok(());
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
        self.clerk.disk.broken = false;
        self.clerk.restart(self.settings.clone());
        match self.policy_file.clone().filter(|_| !self.keeps_policy) {
            Some(text) => self.ask(Asker::Server, Command::SetPolicy { text, kept: false }).map(drop),
            None => Ok(()),
        }
    }
}

/// Whatever is different belongs to one of those who asked.
///
/// # Errors
/// A row of somebody else that is different.
fn only_own_nodes(before: &Tailnet, after: &Tailnet, askers: &[Asker]) -> Result<(), Violation> {
    let own = |node: &Node| askers.contains(&Asker::Machine(node.machine_key));
    for node in before.nodes().chain(after.nodes()) {
        let same = before.node(node.id) == after.node(node.id);
        law::must(Check::OwnNodesOnly, same || own(node), || {
            format!("a command of {askers:?} changed node {} of {:?}", node.id, node.machine_key)
        })?;
    }
    Ok(())
}
