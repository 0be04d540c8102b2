//! The change log for readers: who changed which row, when, and what the row was before.

use headsail_tailnet::actor::Actor;
use headsail_tailnet::change::{Change, Durability};
use headsail_tailnet::commit::Revision;
use headsail_wire::ids::{NodeId, UserId};
use headsail_wire::time::Time;
use serde_json::{Map, Value};

use crate::Fault;

/// The column that is never shown to readers of the log.
const SECRET: &str = "hash";

/// The low bits of [`Record::id`] that number the changes within a commit. Further changes share the last number.
const POSITION_BITS: u32 = 20;

/// The id of the change at this position of a commit.
pub(crate) fn record_id(revision: Revision, position: usize) -> u64 {
    let highest = (1u64 << POSITION_BITS) - 1;
    (revision.0 << POSITION_BITS) | u64::try_from(position).unwrap_or(highest).min(highest)
}

/// The commit that the change with this id belongs to.
pub(crate) fn revision_of(id: u64) -> Revision {
    Revision(id >> POSITION_BITS)
}

/// How long a change stays in the log. Each of these has its own limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Retention {
    /// Changes by people, and by the files and keys they configured.
    Admin,
    /// Changes by clients and deadlines.
    Routine,
    /// Changes of how nodes are reached, and whether they are connected.
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
    /// The user that the row is, or belongs to.
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
    /// Later changes have greater ids.
    pub id: u64,
    /// The commit that the change belongs to.
    pub revision: Revision,
    /// The index of the command within that commit. Changes with the same revision and entry have one cause.
    pub entry: u64,
    /// When it was decided.
    pub at: Time,
    /// Who caused it.
    pub actor: Actor,
    /// See [`Change::kind`].
    pub kind: String,
    /// The row's key in its table.
    pub subject: String,
    /// The node that the change is about, if any.
    pub node: Option<NodeId>,
    /// The user that the change is about, or that owned the row.
    pub user: Option<UserId>,
    /// The columns of the row after the change, without secrets; empty for a deletion. The text of a policy is in `data`.
    pub row: Map<String, Value>,
    /// The columns of the row before the change, if the log still has them.
    pub before: Option<Map<String, Value>>,
}

impl Record {
    /// Removes what is never shown to readers.
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
    /// Changes of this node.
    pub node: Option<NodeId>,
    /// Changes of this user and of what it owns.
    pub user: Option<UserId>,
    /// Changes of these kinds; a kind includes its `…-deleted`. If empty, all kinds except those in [`HIDDEN_KINDS`].
    pub kinds: Vec<String>,
    /// The order: oldest first, or newest first.
    pub oldest_first: bool,
    /// At most this many.
    pub limit: u32,
}

/// Kinds of changes that a query has to name: there are too many of them, or another change says the same.
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
    /// Whether a record meets all conditions except the limit.
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

/// Reads the change log while a clerk writes it.
pub trait History: Send + Sync {
    /// The changes that match a query.
    ///
    /// # Errors
    /// The log cannot be read.
    fn read(&self, query: &Query) -> Result<Vec<Record>, Fault>;
}
