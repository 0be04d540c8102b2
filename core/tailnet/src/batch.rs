//! How commands that wait together become one commit, and what happens when the store is ahead or refuses. The server's
//! clerk and the simulation's run this same code.

use headsail_wire::time::Time;

use crate::actor::Actor;
use crate::change::{Change, Durability};
use crate::command::{Command, Rejection};
use crate::commit::{Commit, Since};
use crate::model::node::{Expiry, Node};
use crate::tailnet::Tailnet;

/// How often a batch is decided again because another writer was faster. Each attempt starts from what that writer wrote,
/// so losing this many times in a row means that the store is not keeping up.
const ATTEMPTS: usize = 16;

/// A command, and who submitted it.
pub struct Request {
    /// Who submitted it.
    pub actor: Actor,
    /// What is to happen.
    pub command: Command,
}

/// What the store made of a commit.
pub enum Saved<F> {
    /// It is written.
    Yes,
    /// Another writer committed first; nothing was written.
    Conflict {
        /// What happened since the revision on which the commit was decided.
        since: Since,
        /// What to report if this goes on for too long.
        fault: F,
    },
    /// Nothing was written.
    No(F),
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It happened.
    Done,
    /// The request is invalid, or does not fit the tailnet as it is.
    Rejected(Rejection),
    /// It did not happen, because it could not be saved.
    Unsaved,
}

/// The state after a batch.
pub struct Settled<F> {
    /// The tailnet as it is now.
    pub tailnet: Tailnet,
    /// What other writers committed in the meantime; already part of `tailnet`.
    pub others: Vec<Since>,
    /// What this batch changed; empty if nothing.
    pub commit: Commit,
    /// What became of each request, in order.
    pub outcomes: Vec<Outcome>,
    /// Why the commit could not be saved, if it could not.
    pub fault: Option<F>,
}

/// Decides requests one on top of the other, and saves what they change as one commit. After a conflict it catches up and
/// decides everything again, so a request sees what other writers did before it.
///
/// Where the store refuses, the requests that need it do not happen. Each of the others is decided as if those had never
/// been there, so no outcome depends on something that was not saved. Keys of nodes expire all the same.
pub fn settle<F>(
    tailnet: &Tailnet,
    requests: &[Request],
    at: Time,
    mut decide: impl FnMut(&Tailnet, &Command) -> Result<Vec<Change>, Rejection>,
    mut save: impl FnMut(&Commit) -> Saved<F>,
) -> Settled<F> {
    let mut start = tailnet.clone();
    let (mut others, mut attempts) = (Vec::new(), 0);
    let fault = loop {
        attempts += 1;
        let (tailnet, commit, outcomes) = decide_all(&start, requests, at, &mut decide, true);
        if commit.is_empty() {
            return Settled { tailnet, others, commit, outcomes, fault: None };
        }
        match save(&commit) {
            Saved::Yes => return Settled { tailnet, others, commit, outcomes, fault: None },
            Saved::Conflict { since, fault } => {
                start.catch_up(&since);
                others.push(since);
                if attempts == ATTEMPTS {
                    break fault;
                }
            }
            Saved::No(fault) => break fault,
        }
    };
    let (tailnet, commit, outcomes) = decide_all(&start, requests, at, &mut decide, false);
    Settled { tailnet, others, commit, outcomes, fault: Some(fault) }
}

/// Decides requests on one state of the tailnet. Without a store, those that make a durable change do not happen.
fn decide_all(
    start: &Tailnet,
    requests: &[Request],
    at: Time,
    mut decide: impl FnMut(&Tailnet, &Command) -> Result<Vec<Change>, Rejection>,
    has_store: bool,
) -> (Tailnet, Commit, Vec<Outcome>) {
    let mut next = start.clone();
    let (mut entries, mut outcomes) = (Vec::new(), Vec::with_capacity(requests.len()));
    for request in requests {
        outcomes.push(match decide(&next, &request.command) {
            Err(rejection) => Outcome::Rejected(rejection),
            Ok(changes) if !has_store && changes.iter().any(|change| needs_store(&next, change)) => {
                Outcome::Unsaved
            }
            Ok(changes) => {
                if !changes.is_empty() {
                    next.apply(&changes);
                    entries.push((request.actor.clone(), changes));
                }
                Outcome::Done
            }
        });
    }
    let mut commit = Commit::on(start.revision(), at, entries);
    if !has_store {
        commit.revision = start.revision();
    }
    next.reach(commit.revision);
    (next, commit, outcomes)
}

/// Whether a change may not take effect unless it is saved. That a key has expired is a fact of time: the stored row says
/// when, so a restart comes to the same.
fn needs_store(t: &Tailnet, change: &Change) -> bool {
    if let Change::Node(next) = change
        && let Some(node) = t.node(next.id)
        && let Expiry::At(at) = node.expiry
        && **next == (Node { expiry: Expiry::Passed(at), ..Node::clone(node) })
    {
        return false;
    }
    change.durability() == Durability::Durable
}
