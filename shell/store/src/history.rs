//! The change log as people read it: who changed which row when, and how it was before.

use headsail_tailnet::actor::Actor;
use headsail_tailnet::change::{Change, Durability};
use headsail_tailnet::commit::Revision;
use headsail_wire::ids::{NodeId, UserId};
use headsail_wire::time::Time;
use serde_json::{Map, Value};

use crate::Fault;

/// Columns that no reader of the log is shown.
const SECRET: &str = "hash";

/// Changes within one commit that have ids of their own; 20 bits of [`Record::id`].
const POSITION_BITS: u32 = 20;

/// The id of the change at a position of a commit.
pub(crate) fn record_id(revision: Revision, position: usize) -> u64 {
    let highest = (1u64 << POSITION_BITS) - 1;
    (revision.0 << POSITION_BITS) | u64::try_from(position).unwrap_or(highest).min(highest)
}

/// The commit that the change with this id belongs to.
pub(crate) fn revision_of(id: u64) -> Revision {
    Revision(id >> POSITION_BITS)
}

/// For how long a change stays in the log, and in whose company.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Retention {
    /// What people did, and the files and keys they configured.
    Admin,
    /// What clients and deadlines caused.
    Routine,
    /// Where nodes are reached, and whether they are connected.
    Volatile,
}

impl Retention {
    pub(crate) fn of(actor: &Actor, change: &Change) -> Retention {
        match change.durability() {
            Durability::Volatile => Retention::Volatile,
            Durability::Durable | Durability::Memory if actor.is_routine() => Retention::Routine,
            Durability::Durable | Durability::Memory => Retention::Admin,
        }
    }
}

/// The row that a change concerns.
pub(crate) struct Subject {
    pub id: String,
    pub node: Option<NodeId>,
    /// The user, or the one that the row belongs to.
    pub user: Option<UserId>,
}

impl Subject {
    pub(crate) fn of(change: &Change) -> Subject {
        let subject = |id: String, node, user| Subject { id, node, user };
        match change {
            Change::User(user) => subject(user.id.to_string(), None, Some(user.id)),
            Change::UserGone(id) => subject(id.to_string(), None, Some(*id)),
            Change::Node(node) => subject(node.id.to_string(), Some(node.id), node.owner.user()),
            Change::NodeGone(id) | Change::Contact(id, _) | Change::Presence(id, _) => {
                subject(id.to_string(), Some(*id), None)
            }
            Change::Tombstone(stone) => subject(stone.node_key.to_string(), Some(stone.node), None),
            Change::TombstoneGone(key) => subject(key.to_string(), None, None),
            Change::AuthKey(key) => subject(key.id.to_string(), None, key.user),
            Change::AuthKeyGone(id) => subject(id.to_string(), None, None),
            Change::ApiKey(key) => subject(key.id.to_string(), None, None),
            Change::ApiKeyGone(id) => subject(id.to_string(), None, None),
            Change::Ticket(ticket) => subject(ticket.id.clone(), None, None),
            Change::SshCheck(check) => subject(check.id.clone(), Some(check.dst), None),
            Change::TicketGone(id) | Change::SshCheckGone(id) => subject(id.clone(), None, None),
            Change::NextId(sequence, _) => subject(sequence.name().to_owned(), None, None),
            Change::Policy(_) | Change::Settings(_) => subject(String::new(), None, None),
        }
    }
}

/// One change of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Grows from change to change.
    pub id: u64,
    /// The commit that the change belongs to.
    pub revision: Revision,
    /// The command within that commit: changes with the same revision and entry were caused by one request.
    pub entry: u64,
    /// When it was decided.
    pub at: Time,
    /// Who caused it.
    pub actor: Actor,
    /// What kind of change it is, see [`Change::kind`].
    pub kind: String,
    /// The row's key in its table.
    pub subject: String,
    /// The node that the change is about, if any.
    pub node: Option<NodeId>,
    /// The user that the change is about, or that owned the row.
    pub user: Option<UserId>,
    /// The columns of the row after the change; empty for a deletion. Policies have their text in `data`. Never a secret.
    pub row: Map<String, Value>,
    /// The columns before the change, if the log still has them.
    pub before: Option<Map<String, Value>>,
}

impl Record {
    /// Removes what no reader is shown.
    pub(crate) fn without_secrets(mut self) -> Record {
        self.row.remove(SECRET);
        if let Some(before) = &mut self.before {
            before.remove(SECRET);
        }
        self
    }
}

/// Which changes to read.
#[derive(Clone, Debug)]
pub struct Query {
    /// Changes after the one with this id.
    pub after: Option<u64>,
    /// Changes before the one with this id.
    pub before: Option<u64>,
    /// Changes decided at this time or later.
    pub since: Option<Time>,
    /// Changes of this actor (`node:12`), or of this kind of actor (`node`).
    pub actor: Option<String>,
    /// Changes that concern this node.
    pub node: Option<NodeId>,
    /// Changes that concern this user or what it owns.
    pub user: Option<UserId>,
    /// Changes of these kinds; a name covers its `…-deleted` too. Empty is every kind but those in [`HIDDEN_KINDS`].
    pub kinds: Vec<String>,
    /// Oldest first instead of newest first.
    pub oldest_first: bool,
    /// At most this many.
    pub limit: u32,
}

/// Kinds of changes that are read only when they are asked for: there are too many of them, or another change says the same.
pub const HIDDEN_KINDS: [&str; 4] = ["contact", "presence", "tombstone", "sequence"];

/// Every kind that the log records, without the `-deleted` of deletions.
pub const KINDS: [&str; 9] =
    ["user", "node", "preauthkey", "apikey", "policy", "tombstone", "contact", "presence", "sequence"];

impl Default for Query {
    fn default() -> Query {
        Query {
            after: None,
            before: None,
            since: None,
            actor: None,
            node: None,
            user: None,
            kinds: Vec::new(),
            oldest_first: false,
            limit: 100,
        }
    }
}

impl Query {
    /// Whether a record is asked for.
    pub(crate) fn matches(&self, record: &Record) -> bool {
        let kind = record.kind.strip_suffix("-deleted").unwrap_or(&record.kind);
        let kinds = if self.kinds.is_empty() {
            !HIDDEN_KINDS.contains(&kind)
        } else {
            self.kinds.iter().any(|wanted| wanted == kind || *wanted == record.kind)
        };
        let actor = self
            .actor
            .as_ref()
            .is_none_or(|wanted| record.actor.kind() == wanted || record.actor.to_string() == *wanted);
        kinds
            && actor
            && self.after.is_none_or(|id| record.id > id)
            && self.before.is_none_or(|id| record.id < id)
            && self.since.is_none_or(|at| record.at >= at)
            && self.node.is_none_or(|id| record.node == Some(id))
            && self.user.is_none_or(|id| record.user == Some(id))
    }
}

/// Reads the change log, beside the clerk that writes it.
pub trait History: Send + Sync {
    /// The changes that a query asks for.
    ///
    /// # Errors
    /// The log cannot be read.
    fn read(&self, query: &Query) -> Result<Vec<Record>, Fault>;
}
