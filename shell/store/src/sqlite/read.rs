//! Rows become changes again.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use headsail_tailnet::change::{Change, Sequence};
use headsail_tailnet::model::key::{ApiKey, AuthKey, KeyDigest};
use headsail_tailnet::model::node::{
    Contact, Expiry, Node, Owner, Presence, RegisterMethod, StreamNo, Tags, Tombstone,
};
use headsail_tailnet::model::policy::PolicyRow;
use headsail_tailnet::model::user::User;
use headsail_wire::capver::CapVer;
use headsail_wire::time::Time;
use rusqlite::types::FromSql;
use rusqlite::{Connection, Row, TransactionBehavior};
use serde::de::DeserializeOwned;

use super::{fault_of, write};
use crate::{Fault, Loaded, Revision};

/// How far the store is.
pub(super) fn revision(connection: &Connection) -> rusqlite::Result<Revision> {
    let mut statement = connection.prepare_cached("SELECT revision FROM meta")?;
    statement.query_row([], |row| row.get(0)).map(|n: i64| Revision(n.cast_unsigned()))
}

/// Reads every row, all as of one moment.
pub(super) fn load(connection: &mut Connection, path: &Path) -> Result<Loaded, Fault> {
    let fault = |e| fault_of(path, &e);
    let tx = connection.transaction_with_behavior(TransactionBehavior::Deferred).map_err(fault)?;
    let revision = revision(&tx).map_err(fault)?;
    let mut changes = Vec::new();
    let mut table = |name: &str, chosen: &str, read: fn(&Fields<'_>) -> Result<Change, String>| {
        let mut statement = tx.prepare(&format!("SELECT * FROM {name} ORDER BY {chosen}")).map_err(fault)?;
        let mut rows = statement.query([]).map_err(fault)?;
        while let Some(row) = rows.next().map_err(fault)? {
            changes.push(read(&Fields(row)).map_err(|why| unreadable(path, name, row, &why))?);
        }
        Ok(())
    };
    table("users", "id", user)?;
    table("pre_auth_keys", "id", auth_key)?;
    table("api_keys", "id", api_key)?;
    table("nodes", "id", node)?;
    table("tombstones", "node_key", tombstone)?;
    table("policies", "id DESC LIMIT 1", policy)?;
    table("sequences", "name", sequence)?;
    Ok(Loaded { revision, changes })
}

fn unreadable(path: &Path, table: &str, row: &Row<'_>, why: &str) -> Fault {
    let key = match row.get_ref(0).map(|v| (v.as_i64(), v.as_str())) {
        Ok((Ok(id), _)) => id.to_string(),
        Ok((_, Ok(text))) => text.to_owned(),
        _ => "?".to_owned(),
    };
    let cure = match table {
        // A text is read before it is kept, so it was another release that could.
        "policies" => "start the release that wrote it, which may be a newer one, or delete that row",
        _ => "correct or delete that row",
    };
    Fault::Other(format!(
        "database `{}` has a row that can't be read: `{key}` of table `{table}`: {why}; {cure}, or restore a backup",
        path.display()
    ))
}

fn user(row: &Fields<'_>) -> Result<Change, String> {
    Ok(Change::User(Arc::new(User {
        id: row.id("id")?,
        name: row.get("name")?,
        display_name: row.get("display_name")?,
        email: row.get("email")?,
        provider: row.get("provider")?,
        provider_id: row.get("provider_identifier")?,
        picture_url: row.get("profile_pic_url")?,
        role: row.text("role")?,
        created: row.time("created_at")?,
    })))
}

fn auth_key(row: &Fields<'_>) -> Result<Change, String> {
    Ok(Change::AuthKey(Arc::new(AuthKey {
        id: row.id("id")?,
        prefix: row.get("prefix")?,
        digest: KeyDigest::from_bytes(row.get("hash")?),
        user: row.id_if_any("user_id")?,
        tags: row.json("tags")?,
        reusable: row.get("reusable")?,
        ephemeral: row.get("ephemeral")?,
        used: row.get("used")?,
        expiration: row.time_if_any("expiration")?,
        created: row.time("created_at")?,
    })))
}

fn api_key(row: &Fields<'_>) -> Result<Change, String> {
    Ok(Change::ApiKey(Arc::new(ApiKey {
        id: row.id("id")?,
        prefix: row.get("prefix")?,
        digest: KeyDigest::from_bytes(row.get("hash")?),
        expiration: row.time_if_any("expiration")?,
        created: row.time("created_at")?,
        last_seen: row.time_if_any("last_seen")?,
    })))
}

fn node(row: &Fields<'_>) -> Result<Change, String> {
    Ok(Change::Node(Arc::new(Node {
        id: row.id("id")?,
        machine_key: row.text("machine_key")?,
        node_key: row.text("node_key")?,
        owner: owner(row)?,
        hostname: row.get("hostname")?,
        name: row.get("given_name")?,
        name_pinned: row.get("name_pinned")?,
        v4: row.text_if_any("ipv4")?,
        v6: row.text_if_any("ipv6")?,
        hostinfo: Arc::new(row.json("host_info")?),
        cap: CapVer(row.get("cap_ver")?),
        contact: contact(row)?,
        presence: presence(row)?,
        expiry: match (row.time_if_any("expiry")?, row.get("expired")?) {
            (None, _) => Expiry::Never,
            (Some(at), false) => Expiry::At(at),
            (Some(at), true) => Expiry::Passed(at),
        },
        ephemeral: row.get("ephemeral")?,
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

fn contact(row: &Fields<'_>) -> Result<Contact, String> {
    let net_info: Option<String> = row.get("net_info")?;
    Ok(Contact {
        endpoints: row.json("endpoints")?,
        disco_key: row.text("disco_key")?,
        net_info: net_info.map(|text| parse_json("net_info", &text)).transpose()?.map(Arc::new),
    })
}

fn presence(row: &Fields<'_>) -> Result<Presence, String> {
    let since = row.time("last_seen")?;
    let stream: Option<i64> = row.get("stream")?;
    match (row.get("online")?, stream, row.time_if_any("left_at")?, row.time_if_any("linger_until")?) {
        (true, Some(stream), None, None) => {
            Ok(Presence::Online { since, stream: StreamNo(stream.cast_unsigned()) })
        }
        (true, None, Some(left), Some(until)) => Ok(Presence::Lingering { since, left, until }),
        (false, None, None, None) => Ok(Presence::Offline { since }),
        _ => Err("columns `online`, `stream`, `left_at` and `linger_until` don't fit together".into()),
    }
}

fn method(row: &Fields<'_>) -> Result<RegisterMethod, String> {
    let text: String = row.get("register_method")?;
    [RegisterMethod::AuthKey, RegisterMethod::Cli, RegisterMethod::Oidc]
        .into_iter()
        .find(|m| write::method(*m) == text)
        .ok_or_else(|| format!("column `register_method` says `{text}`"))
}

fn tombstone(row: &Fields<'_>) -> Result<Change, String> {
    Ok(Change::Tombstone(Arc::new(Tombstone {
        node: row.id("node_id")?,
        node_key: row.text("node_key")?,
        machine_key: row.text("machine_key")?,
        deleted: row.time("deleted_at")?,
    })))
}

/// The newest policy.
fn policy(row: &Fields<'_>) -> Result<Change, String> {
    let text: String = row.get("data")?;
    let row = PolicyRow::parse(&text, &[], row.time("created_at")?, true);
    Ok(Change::Policy(Arc::new(row.map_err(|refusal| format!("column `data`: {refusal}"))?)))
}

fn sequence(row: &Fields<'_>) -> Result<Change, String> {
    let name: String = row.get("name")?;
    let sequence = Sequence::ALL.into_iter().find(|s| s.name() == name);
    Ok(Change::NextId(sequence.ok_or("there is no such sequence")?, row.number("next")?))
}

/// The columns of a row, by name; errors name the column.
struct Fields<'a>(&'a Row<'a>);

impl Fields<'_> {
    fn get<T: FromSql>(&self, column: &str) -> Result<T, String> {
        self.0.get(column).map_err(|e| format!("column `{column}`: {e}"))
    }

    fn number(&self, column: &str) -> Result<u64, String> {
        self.get::<i64>(column).map(i64::cast_unsigned)
    }

    /// Ids check their range where they are read from text.
    fn id<T: FromStr<Err = String>>(&self, column: &str) -> Result<T, String> {
        self.parsed(column, self.number(column)?)
    }

    fn id_if_any<T: FromStr<Err = String>>(&self, column: &str) -> Result<Option<T>, String> {
        let number: Option<i64> = self.get(column)?;
        number.map(|n| self.parsed(column, n)).transpose()
    }

    fn parsed<T: FromStr<Err = String>>(&self, column: &str, number: impl Display) -> Result<T, String> {
        number.to_string().parse().map_err(|e| format!("column `{column}`: {e}"))
    }

    fn time(&self, column: &str) -> Result<Time, String> {
        self.get(column).map(Time::from_micros)
    }

    fn time_if_any(&self, column: &str) -> Result<Option<Time>, String> {
        self.get::<Option<i64>>(column).map(|at| at.map(Time::from_micros))
    }

    fn text<T: FromStr<Err: Display>>(&self, column: &str) -> Result<T, String> {
        let text: String = self.get(column)?;
        text.parse().map_err(|e| format!("column `{column}`: {e}"))
    }

    fn text_if_any<T: FromStr<Err: Display>>(&self, column: &str) -> Result<Option<T>, String> {
        let text: Option<String> = self.get(column)?;
        text.map(|t| t.parse().map_err(|e| format!("column `{column}`: {e}"))).transpose()
    }

    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, String> {
        let text: String = self.get(column)?;
        parse_json(column, &text)
    }
}

fn parse_json<T: DeserializeOwned>(column: &str, text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|e| format!("column `{column}`: {e}"))
}
