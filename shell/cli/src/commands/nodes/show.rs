//! The tables of `nodes list` and `nodes list-routes`.

use headsail_api::Timestamp;
use headsail_api::v1::node::Node;

use crate::output::{self, Cell, Table};

pub fn nodes(nodes: &[Node], now: Timestamp) -> Table {
    let mut table = Table::new([
        "ID",
        "Hostname",
        "Name",
        "MachineKey",
        "NodeKey",
        "User",
        "Tags",
        "IP addresses",
        "Ephemeral",
        "Last seen",
        "Expiration",
        "Connected",
        "Expired",
    ]);
    for n in nodes {
        let expired = n.expiry.is_some_and(|at| at <= now);
        table.row([
            n.id.into(),
            (&n.name).into(),
            (&n.given_name).into(),
            short_key(&n.machine_key).into(),
            short_key(&n.node_key).into(),
            owner(n).into(),
            Cell::list(&n.tags),
            n.ip_addresses.join(", ").into(),
            n.pre_auth_key.as_ref().is_some_and(|k| k.ephemeral).into(),
            output::time(n.last_seen).into(),
            n.expiry.map_or_else(|| "N/A".to_owned(), |at| output::time(Some(at))).into(),
            Cell::judged(if n.online { "online" } else { "offline" }, n.online),
            Cell::judged(if expired { "yes" } else { "no" }, !expired),
        ]);
    }
    table
}

pub fn routes(nodes: &[Node]) -> Table {
    let mut table = Table::new(["ID", "Hostname", "Approved", "Available", "Serving (Primary)"]);
    for n in nodes {
        table.row([
            n.id.into(),
            (&n.given_name).into(),
            Cell::list(&n.approved_routes),
            Cell::list(&n.available_routes),
            Cell::list(&n.subnet_routes),
        ]);
    }
    table
}

/// The name of a node's owner. Tagged nodes have no user, so Headscale's placeholder stands in.
fn owner(n: &Node) -> String {
    match &n.user {
        _ if !n.tags.is_empty() => headsail_api::v1::user::TAGGED_DEVICES.1.to_owned(),
        Some(user) => user.name.clone(),
        None => "-".to_owned(),
    }
}

/// Shortens a key the way client logs do: the first 30 bits in base64, in brackets.
fn short_key(key: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let hex = key.rsplit_once(':').map_or(key, |(_, hex)| hex);
    let Some(bits) = hex.get(..8).and_then(|h| u32::from_str_radix(h, 16).ok()) else {
        return "-".to_owned();
    };
    let digit = |shift: u32| ALPHABET.get((bits >> shift) as usize & 63).map_or('?', |&b| char::from(b));
    let digits: String = [26, 20, 14, 8, 2].map(digit).into_iter().collect();
    format!("[{digits}]")
}

#[cfg(test)]
mod tests {
    use headsail_api::v1::user::User;

    use super::*;

    fn plain(table: &Table) -> String {
        anstream::adapter::strip_str(&table.to_string()).to_string()
    }

    #[test]
    fn keys_are_shortened_as_in_client_logs() {
        assert_eq!(
            short_key("nodekey:00108310518720928b30d38f41149351559761969b71d79f8218a39259a7a29a"),
            "[ABCDE]"
        );
        assert_eq!(short_key("mkey:ffffffffff"), "[/////]");
        assert_eq!(short_key(""), "-");
        assert_eq!(short_key("mkey:é€x"), "-");
    }

    #[test]
    fn the_node_table_shows_one_line_per_tag() {
        let node = Node {
            id: 7,
            name: "Joe's Mac".into(),
            given_name: "joes-mac".into(),
            machine_key: "mkey:00108310".into(),
            node_key: "nodekey:ffffffff".into(),
            user: Some(User { name: "joe".into(), ..User::default() }),
            ip_addresses: vec!["100.64.0.1".into(), "fd7a:115c:a1e0::1".into()],
            last_seen: "2026-01-31T12:00:00Z".parse().ok(),
            expiry: "2026-02-01T12:00:00Z".parse().ok(),
            ..Node::default()
        };
        let tagged = Node { tags: vec!["tag:a".into(), "tag:b".into()], online: true, ..Node::default() };
        let now = "2026-03-01T00:00:00Z".parse().unwrap();
        let shown = plain(&nodes(&[node, tagged], now));
        let lines: Vec<String> =
            shown.lines().map(|l| l.split('|').map(str::trim).collect::<Vec<_>>().join("|")).collect();
        assert_eq!(
            lines,
            [
                "ID|Hostname|Name|MachineKey|NodeKey|User|Tags|IP addresses|Ephemeral|Last seen|Expiration|Connected|\
                 Expired",
                "7|Joe's Mac|joes-mac|[ABCDE]|[/////]|joe||100.64.0.1, fd7a:115c:a1e0::1|false|2026-01-31 12:00:00|\
                 2026-02-01 12:00:00|offline|yes",
                "0|||-|-|tagged-devices|tag:a||false|-|N/A|online|no",
                "||||||tag:b||||||",
            ]
        );
    }
}
