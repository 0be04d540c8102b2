//! Changes become rows.

use std::collections::BTreeMap;

use headsail_tailnet::change::{Change, Sequence};
use headsail_tailnet::model::key::{ApiKey, AuthKey};
use headsail_tailnet::model::node::{Contact, Expiry, Node, Presence, RegisterMethod, Tombstone};
use headsail_tailnet::model::policy::PolicyRow;
use headsail_tailnet::model::user::User;
use headsail_wire::time::Time;
use rusqlite::{Connection, Error, Result, ToSql, params};
use serde::Serialize;

use crate::Revision;

/// A column and its value.
type Field<'a> = (&'a str, &'a dyn ToSql);

/// Writes one change.
pub(super) fn change(tx: &Connection, change: &Change) -> Result<()> {
    match change {
        Change::User(user) => put_user(tx, user),
        Change::UserGone(id) => delete(tx, "users", "id", &number(id.get())),
        Change::Node(node) => put_node(tx, node),
        Change::NodeGone(id) => delete(tx, "nodes", "id", &number(id.get())),
        Change::Contact(id, contact) => {
            let contact = ContactColumns::of(contact)?;
            update(tx, "nodes", &number(id.get()), &contact.fields())
        }
        Change::Presence(id, presence) => {
            let presence = PresenceColumns::of(*presence);
            update(tx, "nodes", &number(id.get()), &presence.fields())
        }
        Change::Tombstone(stone) => put_tombstone(tx, stone),
        Change::TombstoneGone(key) => delete(tx, "tombstones", "node_key", &key.to_string()),
        Change::AuthKey(key) => put_auth_key(tx, key),
        Change::AuthKeyGone(id) => delete(tx, "pre_auth_keys", "id", &number(id.get())),
        Change::ApiKey(key) => put_api_key(tx, key),
        Change::ApiKeyGone(id) => delete(tx, "api_keys", "id", &number(id.get())),
        Change::Policy(row) if row.kept => put_policy(tx, row),
        // Sequences follow all rows of the batch.
        Change::NextId(..) => Ok(()),
        // These live in memory only.
        Change::SshCheck(_)
        | Change::SshCheckGone(_)
        | Change::Policy(_)
        | Change::Ticket(_)
        | Change::TicketGone(_)
        | Change::Settings(_) => Ok(()),
    }
}

/// Raises the sequences past every number that the changes give out, so that none is given again when its row is gone.
pub(super) fn sequences(tx: &Connection, changes: &[&Change]) -> Result<()> {
    let mut raised: BTreeMap<Sequence, u64> = BTreeMap::new();
    for change in changes {
        let (sequence, next) = match change {
            Change::User(user) => (Sequence::Users, user.id.get() + 1),
            Change::Node(node) => (Sequence::Nodes, node.id.get() + 1),
            Change::AuthKey(key) => (Sequence::AuthKeys, key.id.get() + 1),
            Change::ApiKey(key) => (Sequence::ApiKeys, key.id.get() + 1),
            Change::NextId(sequence, next) => (*sequence, (*next).max(1)),
            _ => continue,
        };
        let known = raised.entry(sequence).or_default();
        *known = next.max(*known);
    }
    let mut statement = tx.prepare_cached(
        "INSERT INTO sequences (name, next) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET next = excluded.next WHERE excluded.next > next",
    )?;
    for (sequence, next) in raised {
        statement.execute(params![sequence.name(), number(next)])?;
    }
    Ok(())
}

/// Notes how far the store is.
pub(super) fn revision(tx: &Connection, revision: Revision) -> Result<()> {
    tx.prepare_cached("UPDATE meta SET revision = ?1")?.execute([number(revision.0)]).map(drop)
}

fn put_user(tx: &Connection, user: &User) -> Result<()> {
    put(
        tx,
        "users",
        &[
            ("id", &number(user.id.get())),
            ("name", &user.name),
            ("display_name", &user.display_name),
            ("email", &user.email),
            ("provider", &user.provider),
            ("provider_identifier", &user.provider_id),
            ("profile_pic_url", &user.picture_url),
            ("role", &user.role.name()),
            ("created_at", &user.created.micros()),
        ],
    )
}

fn put_auth_key(tx: &Connection, key: &AuthKey) -> Result<()> {
    put(
        tx,
        "pre_auth_keys",
        &[
            ("id", &number(key.id.get())),
            ("prefix", &key.prefix),
            ("hash", &key.digest.bytes()),
            ("user_id", &key.user.map(|id| number(id.get()))),
            ("tags", &json(&key.tags)?),
            ("reusable", &key.reusable),
            ("ephemeral", &key.ephemeral),
            ("used", &key.used),
            ("expiration", &key.expiration.map(Time::micros)),
            ("created_at", &key.created.micros()),
        ],
    )
}

fn put_api_key(tx: &Connection, key: &ApiKey) -> Result<()> {
    put(
        tx,
        "api_keys",
        &[
            ("id", &number(key.id.get())),
            ("prefix", &key.prefix),
            ("hash", &key.digest.bytes()),
            ("expiration", &key.expiration.map(Time::micros)),
            ("last_seen", &key.last_seen.map(Time::micros)),
            ("created_at", &key.created.micros()),
        ],
    )
}

fn put_tombstone(tx: &Connection, stone: &Tombstone) -> Result<()> {
    put(
        tx,
        "tombstones",
        &[
            ("node_key", &stone.node_key.to_string()),
            ("node_id", &number(stone.node.get())),
            ("machine_key", &stone.machine_key.to_string()),
            ("deleted_at", &stone.deleted.micros()),
        ],
    )
}

/// How many policies are kept: the newest holds, the others are its history.
const POLICIES: u32 = 32;

/// A policy that was set once more takes no room of its own.
fn put_policy(tx: &Connection, row: &PolicyRow) -> Result<()> {
    let values = params![row.text(), row.updated.micros()];
    let mut again = tx.prepare_cached(
        "UPDATE policies SET created_at = ?2 WHERE id = (SELECT max(id) FROM policies) AND data = ?1",
    )?;
    if again.execute(values)? > 0 {
        return Ok(());
    }
    tx.prepare_cached("INSERT INTO policies (data, created_at) VALUES (?1, ?2)")?.execute(values)?;
    let mut prune =
        tx.prepare_cached("DELETE FROM policies WHERE id <= (SELECT max(id) FROM policies) - ?1")?;
    prune.execute([POLICIES]).map(drop)
}

fn put_node(tx: &Connection, node: &Node) -> Result<()> {
    let (id, machine_key, node_key) =
        (number(node.id.get()), node.machine_key.to_string(), node.node_key.to_string());
    let (host_info, tags) = (json(&*node.hostinfo)?, json(&node.owner.tags())?);
    let (user, auth_key) =
        (node.owner.user().map(|id| number(id.get())), node.auth_key.map(|id| number(id.get())));
    let (v4, v6) = (node.v4.map(|ip| ip.to_string()), node.v6.map(|ip| ip.to_string()));
    let (expiry, expired) = (node.expiry.time().map(Time::micros), matches!(node.expiry, Expiry::Passed(_)));
    let (method, routes, created) =
        (method(node.method), json(&node.approved_routes)?, node.created.micros());
    let own: [Field<'_>; 19] = [
        ("id", &id),
        ("machine_key", &machine_key),
        ("node_key", &node_key),
        ("host_info", &host_info),
        ("cap_ver", &node.cap.0),
        ("ipv4", &v4),
        ("ipv6", &v6),
        ("hostname", &node.hostname),
        ("given_name", &node.name),
        ("name_pinned", &node.name_pinned),
        ("user_id", &user),
        ("tags", &tags),
        ("register_method", &method),
        ("auth_key_id", &auth_key),
        ("ephemeral", &node.ephemeral),
        ("expiry", &expiry),
        ("expired", &expired),
        ("approved_routes", &routes),
        ("created_at", &created),
    ];
    let contact = ContactColumns::of(&node.contact)?;
    let presence = PresenceColumns::of(node.presence);
    let fields: Vec<Field<'_>> = own.into_iter().chain(contact.fields()).chain(presence.fields()).collect();
    put(tx, "nodes", &fields)
}

/// How a way of coming in is written.
pub(super) fn method(method: RegisterMethod) -> &'static str {
    match method {
        RegisterMethod::AuthKey => "authkey",
        RegisterMethod::Cli => "cli",
        RegisterMethod::Oidc => "oidc",
    }
}

/// Where a node can be reached, as columns of its row.
struct ContactColumns {
    endpoints: String,
    disco_key: String,
    net_info: Option<String>,
}

impl ContactColumns {
    fn of(contact: &Contact) -> Result<ContactColumns> {
        Ok(ContactColumns {
            endpoints: json(&contact.endpoints)?,
            disco_key: contact.disco_key.to_string(),
            net_info: contact.net_info.as_deref().map(json).transpose()?,
        })
    }

    fn fields(&self) -> [Field<'_>; 3] {
        [("endpoints", &self.endpoints), ("disco_key", &self.disco_key), ("net_info", &self.net_info)]
    }
}

/// Whether a node is connected, as columns of its row.
struct PresenceColumns {
    online: bool,
    last_seen: i64,
    stream: Option<i64>,
    left_at: Option<i64>,
    linger_until: Option<i64>,
}

impl PresenceColumns {
    fn of(presence: Presence) -> PresenceColumns {
        let (stream, left, until) = match presence {
            Presence::Online { stream, .. } => (Some(number(stream.0)), None, None),
            Presence::Lingering { left, until, .. } => (None, Some(left.micros()), Some(until.micros())),
            Presence::Offline { .. } => (None, None, None),
        };
        PresenceColumns {
            online: presence.is_online(),
            last_seen: presence.seen().micros(),
            stream,
            left_at: left,
            linger_until: until,
        }
    }

    fn fields(&self) -> [Field<'_>; 5] {
        [
            ("online", &self.online),
            ("last_seen", &self.last_seen),
            ("stream", &self.stream),
            ("left_at", &self.left_at),
            ("linger_until", &self.linger_until),
        ]
    }
}

/// A number as SQLite keeps it: the same 64 bits.
pub(super) fn number(n: u64) -> i64 {
    n.cast_signed()
}

fn json<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::ToSqlConversionFailure(e.into()))
}

/// Writes a whole row. The first field is its key.
fn put(tx: &Connection, table: &str, fields: &[Field<'_>]) -> Result<()> {
    let mut sql = format!("INSERT INTO {table} (");
    let mut marks = String::new();
    let mut sets = String::new();
    for (index, (column, _)) in fields.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        sql.extend([comma, column]);
        marks.extend([comma, "?"]);
        sets.extend([comma, column, " = excluded.", column]);
    }
    let key = fields.first().map_or("id", |(column, _)| column);
    sql.extend([") VALUES (", &marks, ") ON CONFLICT (", key, ") DO UPDATE SET ", &sets]);
    execute(tx, &sql, fields)
}

/// Writes some columns of a row, where there is one.
fn update(tx: &Connection, table: &str, id: &i64, fields: &[Field<'_>]) -> Result<()> {
    let sets: Vec<String> = fields.iter().map(|(column, _)| format!("{column} = ?")).collect();
    let sql = format!("UPDATE {table} SET {} WHERE id = ?", sets.join(", "));
    let fields: Vec<Field<'_>> = fields.iter().copied().chain([("id", id as &dyn ToSql)]).collect();
    execute(tx, &sql, &fields)
}

fn delete(tx: &Connection, table: &str, key: &str, value: &dyn ToSql) -> Result<()> {
    execute(tx, &format!("DELETE FROM {table} WHERE {key} = ?"), &[(key, value)])
}

fn execute(tx: &Connection, sql: &str, fields: &[Field<'_>]) -> Result<()> {
    let values: Vec<&dyn ToSql> = fields.iter().map(|(_, value)| *value).collect();
    tx.prepare_cached(sql)?.execute(values.as_slice()).map(drop)
}
