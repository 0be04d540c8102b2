//! From changes to rows.

use headsail_tailnet::change::{Change, Sequence};
use headsail_tailnet::model::key::{ApiKey, AuthKey};
use headsail_tailnet::model::node::{Contact, Node, Presence, RegisterMethod, Tombstone};
use headsail_tailnet::model::user::User;
use headsail_wire::time::Time;
use serde::Serialize;

use super::{Columns, Value, Write};

/// The write of a change; `None` if the change lives in memory only.
///
/// # Errors
/// A value cannot be represented in JSON.
pub fn write(change: &Change) -> Result<Option<Write>, serde_json::Error> {
    Ok(Some(match change {
        Change::User(row) => Write::Put("users", user(row)),
        Change::UserGone(id) => Write::Delete("users", ("id", int(id.get()))),
        Change::Node(row) => Write::Put("nodes", node(row)?),
        Change::NodeGone(id) => Write::Delete("nodes", ("id", int(id.get()))),
        Change::Contact(id, row) => {
            Write::Update("nodes", [vec![("id", int(id.get()))], contact(row)?].concat())
        }
        Change::Presence(id, row) => {
            Write::Update("nodes", [vec![("id", int(id.get()))], presence(*row)].concat())
        }
        Change::Tombstone(row) => Write::Put("tombstones", tombstone(row)),
        Change::TombstoneGone(key) => Write::Delete("tombstones", ("node_key", text(key))),
        Change::AuthKey(row) => Write::Put("pre_auth_keys", auth_key(row)?),
        Change::AuthKeyGone(id) => Write::Delete("pre_auth_keys", ("id", int(id.get()))),
        Change::ApiKey(row) => Write::Put("api_keys", api_key(row)),
        Change::ApiKeyGone(id) => Write::Delete("api_keys", ("id", int(id.get()))),
        Change::Policy(row) if row.kept => Write::Policy(row.text().to_owned(), row.updated.micros()),
        Change::NextId(sequence, next) => Write::Sequence(sequence.name(), (*next).max(1)),
        Change::Policy(_)
        | Change::SshCheck(_)
        | Change::SshCheckGone(_)
        | Change::Ticket(_)
        | Change::TicketGone(_)
        | Change::Settings(_) => return Ok(None),
    }))
}

/// The sequences that a change raises, each with its next number. Numbers are not reused, even after their row is deleted.
pub fn sequences(change: &Change) -> Vec<(Sequence, u64)> {
    match change {
        Change::User(user) => vec![(Sequence::Users, user.id.get() + 1)],
        Change::Node(node) => {
            let addresses = node.ips().map(Sequence::of_address).map(|(sequence, n)| (sequence, n + 1));
            [(Sequence::Nodes, node.id.get() + 1)].into_iter().chain(addresses).collect()
        }
        Change::AuthKey(key) => vec![(Sequence::AuthKeys, key.id.get() + 1)],
        Change::ApiKey(key) => vec![(Sequence::ApiKeys, key.id.get() + 1)],
        Change::NextId(sequence, next) => vec![(*sequence, (*next).max(1))],
        Change::UserGone(_)
        | Change::NodeGone(_)
        | Change::Contact(..)
        | Change::Presence(..)
        | Change::Tombstone(_)
        | Change::TombstoneGone(_)
        | Change::AuthKeyGone(_)
        | Change::ApiKeyGone(_)
        | Change::Ticket(_)
        | Change::TicketGone(_)
        | Change::SshCheck(_)
        | Change::SshCheckGone(_)
        | Change::Policy(_)
        | Change::Settings(_) => Vec::new(),
    }
}

pub fn method(method: RegisterMethod) -> &'static str {
    match method {
        RegisterMethod::AuthKey => "authkey",
        RegisterMethod::Cli => "cli",
        RegisterMethod::Oidc => "oidc",
    }
}

fn user(row: &User) -> Columns {
    let User { id, name, display_name, email, provider, provider_id, picture_url, role, created } = row;
    vec![
        ("id", int(id.get())),
        ("name", text(name)),
        ("display_name", text(display_name)),
        ("email", text(email)),
        ("provider", text(provider)),
        ("provider_identifier", text(provider_id)),
        ("profile_pic_url", text(picture_url)),
        ("role", text(role.name())),
        ("created_at", time(*created)),
    ]
}

fn auth_key(row: &AuthKey) -> Result<Columns, serde_json::Error> {
    let AuthKey { id, prefix, digest, user, tags, reusable, ephemeral, used, expiration, created } = row;
    Ok(vec![
        ("id", int(id.get())),
        ("prefix", text(prefix)),
        ("hash", Value::Blob(digest.bytes().to_vec())),
        ("user_id", optional(user.map(|id| int(id.get())))),
        ("tags", json(tags)?),
        ("reusable", flag(*reusable)),
        ("ephemeral", flag(*ephemeral)),
        ("used", flag(*used)),
        ("expiration", optional(expiration.map(time))),
        ("created_at", time(*created)),
    ])
}

fn api_key(row: &ApiKey) -> Columns {
    let ApiKey { id, prefix, digest, expiration, created, last_seen } = row;
    vec![
        ("id", int(id.get())),
        ("prefix", text(prefix)),
        ("hash", Value::Blob(digest.bytes().to_vec())),
        ("expiration", optional(expiration.map(time))),
        ("last_seen", optional(last_seen.map(time))),
        ("created_at", time(*created)),
    ]
}

fn node(row: &Node) -> Result<Columns, serde_json::Error> {
    let Node {
        id,
        machine_key,
        node_key,
        owner,
        hostname,
        name,
        name_pinned,
        v4,
        v6,
        hostinfo,
        cap,
        contact: reachable,
        presence: connected,
        expiry,
        ephemeral,
        method: came_by,
        auth_key,
        approved_routes,
        created,
    } = row;
    let mut columns = vec![
        ("id", int(id.get())),
        ("machine_key", text(machine_key)),
        ("node_key", text(node_key)),
        ("host_info", json(&**hostinfo)?),
        ("cap_ver", Value::Int(i64::from(cap.0))),
        ("ipv4", optional(v4.map(text))),
        ("ipv6", optional(v6.map(text))),
        ("hostname", text(hostname)),
        ("given_name", text(name)),
        ("name_pinned", flag(*name_pinned)),
        ("user_id", optional(owner.user().map(|id| int(id.get())))),
        ("tags", json(&owner.tags())?),
        ("register_method", text(method(*came_by))),
        ("auth_key_id", optional(auth_key.map(|id| int(id.get())))),
        ("ephemeral", flag(*ephemeral)),
        ("expiry", optional(expiry.time().map(time))),
        ("expired", flag(expiry.is_past())),
        ("approved_routes", json(approved_routes)?),
        ("created_at", time(*created)),
    ];
    columns.extend(contact(reachable)?);
    columns.extend(presence(*connected));
    Ok(columns)
}

fn contact(row: &Contact) -> Result<Columns, serde_json::Error> {
    let Contact { endpoints, disco_key, net_info } = row;
    Ok(vec![
        ("endpoints", json(endpoints)?),
        ("disco_key", text(disco_key)),
        ("net_info", optional(net_info.as_deref().map(json).transpose()?)),
    ])
}

fn presence(row: Presence) -> Columns {
    let (stream, left, until) = match row {
        Presence::Online { since: _, stream } => (Some(int(stream.0)), None, None),
        Presence::Lingering { since: _, left, until } => (None, Some(time(left)), Some(time(until))),
        Presence::Offline { since: _ } => (None, None, None),
    };
    vec![
        ("online", flag(row.is_online())),
        ("last_seen", time(row.seen())),
        ("stream", optional(stream)),
        ("left_at", optional(left)),
        ("linger_until", optional(until)),
    ]
}

fn tombstone(row: &Tombstone) -> Columns {
    let Tombstone { node, node_key, machine_key, deleted } = row;
    vec![
        ("node_key", text(node_key)),
        ("node_id", int(node.get())),
        ("machine_key", text(machine_key)),
        ("deleted_at", time(*deleted)),
    ]
}

/// SQL integers are signed: the same 64 bits.
fn int(n: u64) -> Value {
    Value::Int(n.cast_signed())
}

fn text(value: impl ToString) -> Value {
    Value::Text(value.to_string())
}

fn flag(value: bool) -> Value {
    Value::Int(i64::from(value))
}

fn time(at: Time) -> Value {
    Value::Int(at.micros())
}

fn optional(value: Option<Value>) -> Value {
    value.unwrap_or(Value::Null)
}

fn json<T: Serialize + ?Sized>(value: &T) -> Result<Value, serde_json::Error> {
    serde_json::to_string(value).map(Value::Json)
}
