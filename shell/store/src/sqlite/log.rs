//! The change log: who changed what when, within bounds.

use headsail_tailnet::change::{Change, Durability};
use headsail_tailnet::model::node::Node;
use headsail_wire::keys::hex;
use rusqlite::{Connection, Result, params};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::write::number;
use crate::{Batch, Revision};

/// Changes of one commit that are written down one by one; of the others only the number is.
const CHANGES_IN_ENTRY: usize = 1000;

/// How much of the change log is kept.
#[derive(Clone, Copy, Debug)]
pub struct LogLimits {
    /// Entries of what lasts.
    pub durable: u32,
    /// Entries of comings, goings and addresses alone: these are many, and mustn't push out the others.
    pub volatile: u32,
    /// Commits between one clearing and the next, by which the log may be longer.
    pub every: u32,
}

impl Default for LogLimits {
    fn default() -> LogLimits {
        LogLimits { durable: 100_000, volatile: 20_000, every: 1000 }
    }
}

/// Adds the entry of a commit: who wanted what when, as a JSON array without secrets and digests of them. It is for
/// people, who read it with the tools of SQLite.
pub(super) fn append(
    tx: &Connection,
    revision: Revision,
    batch: &Batch<'_>,
    changes: &[&Change],
) -> Result<()> {
    let volatile = changes.iter().all(|c| c.durability() == Durability::Volatile);
    let mut told: Vec<Value> = changes.iter().take(CHANGES_IN_ENTRY).map(|c| tell(c)).collect();
    if let Some(more @ 1..) = changes.len().checked_sub(CHANGES_IN_ENTRY) {
        told.push(json!({"more": more}));
    }
    let mut statement = tx.prepare_cached(
        "INSERT INTO change_log (revision, time, actor, volatile, changes) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let told = Value::Array(told).to_string();
    statement.execute(params![number(revision.0), batch.at.micros(), batch.actor, volatile, told]).map(drop)
}

/// Forgets the oldest entries now and then.
pub(super) fn prune(tx: &Connection, revision: Revision, limits: LogLimits) -> Result<()> {
    if !revision.0.is_multiple_of(u64::from(limits.every.max(1))) {
        return Ok(());
    }
    let mut statement = tx.prepare_cached(
        "DELETE FROM change_log WHERE volatile = ?1 AND revision <= (
             SELECT revision FROM change_log WHERE volatile = ?1 ORDER BY revision DESC LIMIT 1 OFFSET ?2)",
    )?;
    statement.execute(params![false, limits.durable])?;
    statement.execute(params![true, limits.volatile])?;
    Ok(())
}

fn tell(change: &Change) -> Value {
    match change {
        Change::User(user) => json!({
            "change": "user", "id": user.id, "name": user.name, "email": user.email, "provider": user.provider,
            "role": user.role,
        }),
        Change::UserGone(id) => json!({"change": "user gone", "id": id}),
        Change::Node(node) => tell_node(node),
        Change::NodeGone(id) => json!({"change": "node gone", "id": id}),
        Change::Contact(id, contact) => json!({
            "change": "contact", "id": id, "endpoints": contact.endpoints, "home_derp": contact.home_derp(),
        }),
        Change::Presence(id, presence) => json!({
            "change": "presence", "id": id, "online": presence.is_online(), "since": presence.seen(),
        }),
        Change::Tombstone(stone) => json!({
            "change": "tombstone", "id": stone.node, "node_key": stone.node_key, "machine_key": stone.machine_key,
        }),
        Change::TombstoneGone(key) => json!({"change": "tombstone gone", "node_key": key}),
        Change::AuthKey(key) => json!({
            "change": "auth key", "id": key.id, "prefix": key.prefix, "user": key.user, "tags": key.tags,
            "reusable": key.reusable, "ephemeral": key.ephemeral, "used": key.used, "expiration": key.expiration,
        }),
        Change::AuthKeyGone(id) => json!({"change": "auth key gone", "id": id}),
        Change::ApiKey(key) => json!({
            "change": "api key", "id": key.id, "prefix": key.prefix, "expiration": key.expiration,
            "last_seen": key.last_seen,
        }),
        Change::ApiKeyGone(id) => json!({"change": "api key gone", "id": id}),
        Change::NextId(sequence, next) => {
            json!({"change": "sequence", "name": sequence.name(), "next": next})
        }
        // Entries have no room for texts of megabytes; the policies of the past are rows of their own.
        Change::Policy(row) => json!({
            "change": "policy", "sha256": hex(&Sha256::digest(row.text())), "bytes": row.text().len(),
        }),
        Change::SshCheck(_)
        | Change::SshCheckGone(_)
        | Change::Ticket(_)
        | Change::TicketGone(_)
        | Change::Settings(_) => Value::Null,
    }
}

fn tell_node(node: &Node) -> Value {
    json!({
        "change": "node", "id": node.id, "name": node.name, "user": node.owner.user(), "tags": node.owner.tags(),
        "addresses": node.ips().collect::<Vec<_>>(), "node_key": node.node_key, "machine_key": node.machine_key,
        "expiry": node.expiry.time(), "expired": node.expiry.is_past(), "ephemeral": node.ephemeral,
        "auth_key": node.auth_key, "approved_routes": node.approved_routes,
    })
}
