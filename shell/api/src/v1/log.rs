//! The change log: who changed what, and when.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::lenient;

/// Which changes to list. Not in Headscale.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ListChangesQuery {
    /// Only changes after the one with this id, oldest first. Without it, the newest changes come first.
    #[serde(with = "lenient::OptId", skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Only changes before the one with this id.
    #[serde(with = "lenient::OptId", skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Only changes at this time or later.
    #[serde(deserialize_with = "lenient::opt_time", skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Only changes that this actor caused, such as `api-key:3`, or this kind of actor, such as `api-key`.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "lenient::or_default")]
    pub actor: String,
    /// Only changes of the node with this id.
    #[serde(with = "lenient::OptId", skip_serializing_if = "Option::is_none")]
    pub node: Option<u64>,
    /// Only changes of the user with this id, of its nodes and of its keys.
    #[serde(with = "lenient::OptId", skip_serializing_if = "Option::is_none")]
    pub user: Option<u64>,
    /// Only changes of these kinds, separated by commas: `user`, `node`, `preauthkey`, `apikey`, `policy`, `tombstone`,
    /// `contact`, `presence`, `sequence`. The last four are left out unless they are named.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "lenient::or_default")]
    pub kind: String,
    /// At most this many changes; 100 if absent, 1000 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// With `after`: if there is no such change yet, wait up to this many seconds for one, 60 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<u32>,
}

/// Changes of the log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ListChangesResponse {
    /// The changes: newest first, or oldest first after a given one.
    pub changes: Vec<LogEntry>,
}

/// One change of one row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct LogEntry {
    /// The id of the change; later changes have greater ids.
    #[serde(with = "lenient::Id")]
    pub id: u64,
    /// The commit that the change belongs to. Changes of one request are committed together.
    #[serde(with = "lenient::Id")]
    pub revision: u64,
    /// When the change was made.
    pub time: Option<Timestamp>,
    /// Who caused it: `node:7`, `machine:mkey:…`, `api-key:3`, `user:1`, `unix:1000` (a user id of the server's host), `clock`,
    /// `file:policy` or `server`.
    pub actor: String,
    /// The kind of row: `user`, `node`, `preauthkey`, `apikey`, `policy`, …
    pub kind: String,
    /// What happened to the row.
    pub action: LogAction,
    /// The row's id in its table.
    pub subject: String,
    /// The name of the row, if it has one: of a node or user, or the public part of a key.
    pub name: String,
    /// The node that the change is about, if any.
    #[serde(with = "lenient::OptId")]
    pub node: Option<u64>,
    /// The user that the change is about or that owns the row, if any.
    #[serde(with = "lenient::OptId")]
    pub user: Option<u64>,
    /// The fields that changed. Never a secret.
    pub fields: Vec<LogField>,
    /// For a policy, what changed in its text, as a unified diff.
    pub diff: String,
}

/// What happened to a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogAction {
    /// It is new.
    Created,
    /// It was changed.
    #[default]
    Updated,
    /// It was deleted.
    Deleted,
}

/// A field that changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LogField {
    /// The name of the field, with dots for fields within fields, such as `host_info.Hostname`.
    pub name: String,
    /// The value before; `null` if there was none, or if the log does not go back that far.
    pub before: Value,
    /// The value after; `null` if there is none.
    pub after: Value,
}
