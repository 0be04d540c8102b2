//! Commands that are decided together and committed as one, and what of them holds where the disk refuses. These are the
//! rules of the clerk; the server and the simulation follow the same ones.

use crate::change::{Change, Durability};
use crate::command::Rejection;
use crate::tailnet::Tailnet;

/// Commands that were decided one on top of the other. Nothing of it is true yet.
pub struct Decided {
    next: Tailnet,
    verdicts: Vec<Result<Vec<Change>, Rejection>>,
}

/// What has become of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is true.
    Done,
    /// It is not, by the asker's fault.
    Rejected(Rejection),
    /// It is not, because it could not be saved.
    Unsaved,
}

/// What is true after a batch.
pub struct Settled {
    /// The tailnet as it is.
    pub tailnet: Tailnet,
    /// What has changed; empty where everything is as it was.
    pub changes: Vec<Change>,
    /// What has become of each command, in the order in which they were decided.
    pub outcomes: Vec<Outcome>,
}

impl Decided {
    /// Begins with the tailnet as it is.
    pub fn on(tailnet: &Tailnet) -> Decided {
        Decided { next: tailnet.clone(), verdicts: Vec::new() }
    }

    /// The tailnet on which the next command is decided.
    pub fn tailnet(&self) -> &Tailnet {
        &self.next
    }

    /// Takes what was decided on a command.
    pub fn add(&mut self, verdict: Result<Vec<Change>, Rejection>) {
        if let Ok(changes) = &verdict
            && !changes.is_empty()
        {
            self.next.apply(changes);
        }
        self.verdicts.push(verdict);
    }

    /// What there is to commit.
    pub fn changes(&self) -> Vec<Change> {
        self.verdicts.iter().flatten().flatten().cloned().collect()
    }

    /// The commit has succeeded.
    pub fn saved(self) -> Settled {
        let changes = self.changes();
        let outcome = |verdict: Result<_, _>| verdict.map_or_else(Outcome::Rejected, |_| Outcome::Done);
        Settled { tailnet: self.next, changes, outcomes: self.verdicts.into_iter().map(outcome).collect() }
    }

    /// The commit has failed: commands that need the disk have not happened. The others hold all the same; each says
    /// something of rows that it has not made, and what is said of a row that is not there changes nothing.
    pub fn unsaved(self, was: &Tailnet) -> Settled {
        let mut settled = Settled { tailnet: was.clone(), changes: Vec::new(), outcomes: Vec::new() };
        for verdict in self.verdicts {
            settled.outcomes.push(match verdict {
                Err(rejection) => Outcome::Rejected(rejection),
                Ok(changes) if changes.iter().any(|c| c.durability() == Durability::Durable) => {
                    Outcome::Unsaved
                }
                Ok(changes) => {
                    settled.tailnet.apply(&changes);
                    settled.changes.extend(changes);
                    Outcome::Done
                }
            });
        }
        settled
    }
}
