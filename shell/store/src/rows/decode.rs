//! From rows to changes.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use headsail_tailnet::change::{Change, Sequence};
use headsail_tailnet::model::key::{ApiKey, AuthKey, KeyDigest, check_prefix};
use headsail_tailnet::model::name;
use headsail_tailnet::model::node::{
    Contact, Expiry, Node, Owner, Presence, RegisterMethod, StreamNo, Tags, Tombstone,
};
use headsail_tailnet::model::policy::PolicyRow;
use headsail_tailnet::model::user::User;
use headsail_wire::capver::CapVer;
use headsail_wire::time::Time;
use serde::de::DeserializeOwned;

use super::encode;
use super::{Read, Value};

/// Turns a row of a table into the change that creates it. Errors name the column.
pub type Decode = fn(&Fields<'_>) -> Result<Change, String>;

/// The tables, with the order of their rows and the function that reads them. Each table comes after those that it refers to.
pub const TABLES: [(&str, &str, Decode); 7] = [
    ("users", "id", user),
    ("pre_auth_keys", "id", auth_key),
    ("api_keys", "id", api_key),
    ("nodes", "id", node),
    ("tombstones", "node_key", tombstone),
    // The newest is in effect; the others are its history.
    ("policies", "id DESC LIMIT 1", policy),
    ("sequences", "name", sequence),
];

pub fn user(row: &Fields<'_>) -> Result<Change, String> {
    Ok(Change::User(Arc::new(User {
        id: row.id("id")?,
        name: row.checked("name", User::check_name)?,
        display_name: row.string("display_name")?,
        email: row.string("email")?,
        provider: row.string("provider")?,
        provider_id: row.string("provider_identifier")?,
        picture_url: row.string("profile_pic_url")?,
        role: row.text("role")?,
        created: row.time("created_at")?,
    })))
}

pub fn auth_key(row: &Fields<'_>) -> Result<Change, String> {
    Ok(Change::AuthKey(Arc::new(AuthKey {
        id: row.id("id")?,
        prefix: row.checked("prefix", check_prefix)?,
        digest: KeyDigest::from_bytes(row.bytes("hash")?),
        user: row.id_if_any("user_id")?,
        tags: row.json("tags")?,
        reusable: row.flag("reusable")?,
        ephemeral: row.flag("ephemeral")?,
        used: row.flag("used")?,
        expiration: row.time_if_any("expiration")?,
        created: row.time("created_at")?,
    })))
}

pub fn api_key(row: &Fields<'_>) -> Result<Change, String> {
    Ok(Change::ApiKey(Arc::new(ApiKey {
        id: row.id("id")?,
        prefix: row.checked("prefix", check_prefix)?,
        digest: KeyDigest::from_bytes(row.bytes("hash")?),
        expiration: row.time_if_any("expiration")?,
        created: row.time("created_at")?,
        last_seen: row.time_if_any("last_seen")?,
    })))
}

pub fn node(row: &Fields<'_>) -> Result<Change, String> {
    Ok(Change::Node(Arc::new(Node {
        id: row.id("id")?,
        machine_key: row.text("machine_key")?,
        node_key: row.text("node_key")?,
        owner: owner(row)?,
        hostname: row.string("hostname")?,
        name: row.checked("given_name", name::check)?,
        name_pinned: row.flag("name_pinned")?,
        v4: row.text_if_any("ipv4")?,
        v6: row.text_if_any("ipv6")?,
        hostinfo: Arc::new(row.json("host_info")?),
        cap: CapVer(row.parsed("cap_ver", row.int("cap_ver")?)?),
        contact: contact(row)?,
        presence: presence(row)?,
        expiry: match (row.time_if_any("expiry")?, row.flag("expired")?) {
            (None, _) => Expiry::Never,
            (Some(at), false) => Expiry::At(at),
            (Some(at), true) => Expiry::Passed(at),
        },
        ephemeral: row.flag("ephemeral")?,
        method: method(row)?,
        auth_key: row.id_if_any("auth_key_id")?,
        approved_routes: row.json("approved_routes")?,
        created: row.time("created_at")?,
    })))
}

fn owner(row: &Fields<'_>) -> Result<Owner, String> {
    let tags: BTreeSet<String> = row.json("tags")?;
    match (row.id_if_any("user_id")?, Tags::new(tags)) {
        (Some(user), None) => Ok(Owner::User(user)),
        (None, Some(tags)) => Ok(Owner::Tags(tags)),
        (Some(_), Some(_)) => Err("it has both a user and tags".into()),
        (None, None) => Err("it has neither a user nor tags".into()),
    }
}

/// How a node can be reached: some columns of its row.
pub fn contact(row: &Fields<'_>) -> Result<Contact, String> {
    Ok(Contact {
        endpoints: row.json("endpoints")?,
        disco_key: row.text("disco_key")?,
        net_info: row.json_if_any("net_info")?.map(Arc::new),
    })
}

/// Whether a node is connected: some columns of its row.
pub fn presence(row: &Fields<'_>) -> Result<Presence, String> {
    let since = row.time("last_seen")?;
    let stream = row.int_if_any("stream")?;
    match (row.flag("online")?, stream, row.time_if_any("left_at")?, row.time_if_any("linger_until")?) {
        (true, Some(stream), None, None) => {
            Ok(Presence::Online { since, stream: StreamNo(stream.cast_unsigned()) })
        }
        (true, None, Some(left), Some(until)) => Ok(Presence::Lingering { since, left, until }),
        (false, None, None, None) => Ok(Presence::Offline { since }),
        _ => Err("columns `online`, `stream`, `left_at` and `linger_until` contradict each other".into()),
    }
}

fn method(row: &Fields<'_>) -> Result<RegisterMethod, String> {
    let text = row.string("register_method")?;
    [RegisterMethod::AuthKey, RegisterMethod::Cli, RegisterMethod::Oidc]
        .into_iter()
        .find(|m| encode::method(*m) == text)
        .ok_or_else(|| format!("column `register_method`: `{text}` is not a way to register"))
}

pub fn tombstone(row: &Fields<'_>) -> Result<Change, String> {
    Ok(Change::Tombstone(Arc::new(Tombstone {
        node: row.id("node_id")?,
        node_key: row.text("node_key")?,
        machine_key: row.text("machine_key")?,
        deleted: row.time("deleted_at")?,
    })))
}

pub fn policy(row: &Fields<'_>) -> Result<Change, String> {
    let text = row.string("data")?;
    let row = PolicyRow::parse(&text, &[], row.time("created_at")?, true);
    Ok(Change::Policy(Arc::new(row.map_err(|refusal| format!("column `data`: {refusal}"))?)))
}

/// The next id of a sequence.
pub fn sequence(row: &Fields<'_>) -> Result<Change, String> {
    let name = row.string("name")?;
    let sequence = Sequence::ALL.into_iter().find(|s| s.name() == name);
    Ok(Change::NextId(sequence.ok_or("column `name`: there is no such sequence")?, row.number("next")?))
}

/// The columns of a row, by name; errors name the column.
pub struct Fields<'a>(pub &'a dyn Read);

impl Fields<'_> {
    fn value<T>(
        &self,
        column: &str,
        wanted: &str,
        choose: impl FnOnce(Value) -> Option<T>,
    ) -> Result<T, String> {
        let value = self.0.value(column).map_err(|why| format!("column `{column}`: {why}"))?;
        choose(value).ok_or_else(|| format!("column `{column}`: it is not {wanted}"))
    }

    fn int(&self, column: &str) -> Result<i64, String> {
        self.value(column, "a whole number", |value| if let Value::Int(n) = value { Some(n) } else { None })
    }

    fn int_if_any(&self, column: &str) -> Result<Option<i64>, String> {
        self.value(column, "a whole number or empty", |value| match value {
            Value::Null => Some(None),
            Value::Int(n) => Some(Some(n)),
            Value::Text(_) | Value::Json(_) | Value::Blob(_) => None,
        })
    }

    /// Any number other than 0 and 1 is damage, not a flag.
    fn flag(&self, column: &str) -> Result<bool, String> {
        self.value(column, "0 or 1", |value| match value {
            Value::Int(0) => Some(false),
            Value::Int(1) => Some(true),
            Value::Null | Value::Int(_) | Value::Text(_) | Value::Json(_) | Value::Blob(_) => None,
        })
    }

    fn string(&self, column: &str) -> Result<String, String> {
        self.string_if_any(column)?.ok_or_else(|| format!("column `{column}`: it is empty"))
    }

    fn checked(
        &self,
        column: &str,
        check: impl FnOnce(&str) -> Result<(), String>,
    ) -> Result<String, String> {
        let text = self.string(column)?;
        check(&text).map_err(|why| format!("column `{column}`: {why}"))?;
        Ok(text)
    }

    fn string_if_any(&self, column: &str) -> Result<Option<String>, String> {
        self.value(column, "text", |value| match value {
            Value::Null => Some(None),
            Value::Text(text) | Value::Json(text) => Some(Some(text)),
            Value::Int(_) | Value::Blob(_) => None,
        })
    }

    /// Exactly `N` bytes, as a blob or in hexadecimal.
    fn bytes<const N: usize>(&self, column: &str) -> Result<[u8; N], String> {
        self.value(column, &format!("{N} bytes"), |value| match value {
            Value::Blob(bytes) => bytes.try_into().ok(),
            Value::Text(text) => unhex(&text).and_then(|bytes| bytes.try_into().ok()),
            Value::Null | Value::Int(_) | Value::Json(_) => None,
        })
    }

    fn number(&self, column: &str) -> Result<u64, String> {
        self.int(column).map(i64::cast_unsigned)
    }

    /// Ids are parsed from text, which checks their range.
    pub(crate) fn id<T: FromStr<Err = String>>(&self, column: &str) -> Result<T, String> {
        self.parsed(column, self.number(column)?)
    }

    fn id_if_any<T: FromStr<Err = String>>(&self, column: &str) -> Result<Option<T>, String> {
        self.int_if_any(column)?.map(|n| self.parsed(column, n)).transpose()
    }

    pub(crate) fn parsed<T: FromStr<Err: Display>>(
        &self,
        column: &str,
        number: impl Display,
    ) -> Result<T, String> {
        number.to_string().parse().map_err(|e| format!("column `{column}`: {e}"))
    }

    fn time(&self, column: &str) -> Result<Time, String> {
        self.int(column).map(Time::from_micros)
    }

    fn time_if_any(&self, column: &str) -> Result<Option<Time>, String> {
        self.int_if_any(column).map(|at| at.map(Time::from_micros))
    }

    pub(crate) fn text<T: FromStr<Err: Display>>(&self, column: &str) -> Result<T, String> {
        self.string(column)?.parse().map_err(|e| format!("column `{column}`: {e}"))
    }

    fn text_if_any<T: FromStr<Err: Display>>(&self, column: &str) -> Result<Option<T>, String> {
        let text = self.string_if_any(column)?;
        text.map(|t| t.parse().map_err(|e| format!("column `{column}`: {e}"))).transpose()
    }

    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, String> {
        parse_json(column, &self.string(column)?)
    }

    fn json_if_any<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, String> {
        self.string_if_any(column)?.map(|text| parse_json(column, &text)).transpose()
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.is_ascii().then_some(text.as_bytes())?;
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(byte).collect()
}

fn parse_json<T: DeserializeOwned>(column: &str, text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|e| format!("column `{column}`: {e}"))
}
