//! DNS: resolvers, domains and extra records.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::super::raw::{At, Raw, strings};
use super::super::settings::*;
use super::super::tree::{Tree, Value};

pub(super) fn dns(raw: &mut Raw, server_url: &ServerUrl) -> Dns {
    let magic_dns = raw.bool("dns.magic_dns", true);
    let base_domain = base_domain(raw, magic_dns, server_url);
    let override_local_dns = raw.bool("dns.override_local_dns", true);
    let global = resolvers(raw, raw.list("dns.nameservers.global"));
    if override_local_dns && raw.list("dns.nameservers.global").is_empty() {
        raw.problem(
            "dns.override_local_dns",
            "`dns.override_local_dns` is true (the default), but `dns.nameservers.global` is empty: \
             list resolvers there, such as `1.1.1.1`, or set `dns.override_local_dns: false`",
        );
    }
    // If both have a domain, the newer setting wins.
    let mut split = domain_map(raw, "dns.nameservers.restricted");
    split.append(&mut domain_map(raw, "dns.nameservers.split"));
    let search_domains = raw.list("dns.search_domains").iter().map(|domain| normal(&domain.value)).collect();
    let extra_records = extra_records(raw);
    let extra_records_path = raw.path("dns.extra_records_path");
    if extra_records_path.is_some() && !extra_records.is_empty() {
        raw.problem(
            "dns.extra_records_path",
            "`dns.extra_records` and `dns.extra_records_path` are mutually exclusive: move all records into the file",
        );
    }
    Dns {
        magic_dns,
        base_domain,
        user_names: raw.maybe_bool("dns.user_names"),
        override_local_dns,
        global,
        split,
        search_domains,
        extra_records,
        extra_records_path,
    }
}

/// A domain in the form that clients compare: lower case, no dot at either end.
fn normal(domain: &str) -> String {
    domain.trim().trim_matches('.').to_ascii_lowercase()
}

fn base_domain(raw: &mut Raw, magic_dns: bool, server_url: &ServerUrl) -> String {
    let key = "dns.base_domain";
    let Some(at) = raw.text(key) else {
        if magic_dns {
            raw.missing(
                key,
                "node names are `name.base_domain`; set a domain of your own, such as `mesh.example.com`, or set `dns.magic_dns: false`",
            );
        }
        return String::new();
    };
    let domain = normal(&at.value);
    if !is_domain(&domain) {
        raw.invalid(key, &at, "write a domain such as `mesh.example.com`");
    }
    let host = &server_url.host;
    if *host == domain {
        raw.problem(
            key,
            format_args!("`{key}` is the host of `server_url` (`{host}`), which clients could then no longer resolve: use another domain"),
        );
    } else if host.ends_with(&format!(".{domain}")) {
        raw.problem(
            key,
            format_args!("the host of `server_url` (`{host}`) is below `{key}` (`{domain}`), where clients could no longer resolve it: use another domain, such as `mesh.{domain}`"),
        );
    }
    domain
}

/// Labels of letters, digits, hyphens and underscores: at most 63 bytes each and 253 in total.
fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    domain.len() <= 253 && domain.split('.').all(is_label)
}

/// The resolvers that clients understand. Clients would ignore the others, so those are dropped with a warning.
fn resolvers(raw: &mut Raw, list: Vec<At<String>>) -> Vec<String> {
    let mut understood = Vec::new();
    for At { value, place } in list {
        let is_address = value.parse::<IpAddr>().is_ok() || value.parse::<SocketAddr>().is_ok();
        let is_url = reqwest::Url::parse(&value)
            .is_ok_and(|url| matches!(url.scheme(), "https" | "http") && url.has_host());
        if is_address || is_url {
            understood.push(value);
        } else {
            raw.report.warn(
                &place,
                format_args!("clients do not understand the resolver `{value}`, so it is ignored: write an address such as `1.1.1.1` or a URL such as `https://dns.example.com/dns-query`"),
            );
        }
    }
    understood
}

fn domain_map(raw: &mut Raw, key: &str) -> BTreeMap<String, Vec<String>> {
    let Some(tree) = raw.tree(key).cloned() else { return BTreeMap::new() };
    let Value::Map(entries) = &tree.value else {
        // `Raw` has already reported anything that is neither a list nor a map.
        if matches!(tree.value, Value::List(_)) {
            raw.report.problem(&tree.place, format_args!("`{key}` must map domains to lists of resolvers"));
        }
        return BTreeMap::new();
    };
    let mut map = BTreeMap::new();
    for entry in entries {
        let domain = normal(&entry.key);
        let listed = match &entry.tree.value {
            Value::Text(_) | Value::List(_) | Value::Null => strings(&entry.tree),
            Value::Map(_) => {
                raw.report
                    .problem(&entry.place, format_args!("`{domain}` in `{key}` must be a list of resolvers"));
                continue;
            }
        };
        if !is_domain(&domain) {
            raw.report.problem(&entry.place, format_args!("`{}` in `{key}` is not a domain", entry.key));
            continue;
        }
        map.insert(domain, resolvers(raw, listed));
    }
    map
}

fn extra_records(raw: &mut Raw) -> Vec<ExtraRecord> {
    let Some(tree) = raw.tree("dns.extra_records").cloned() else { return Vec::new() };
    let Value::List(items) = &tree.value else {
        if matches!(tree.value, Value::Map(_)) {
            raw.report.problem(
                &tree.place,
                "`dns.extra_records` must be a list of records with `name`, `type` and `value`",
            );
        }
        return Vec::new();
    };
    let mut records = Vec::new();
    for item in items {
        let field = |name: &str| match item.get(name) {
            Some(Tree { value: Value::Text(text), .. }) => text.trim().to_owned(),
            _ => String::new(),
        };
        match extra_record(&field("name"), &field("type"), &field("value")) {
            Ok(record) => records.push(record),
            Err(why) => {
                raw.report
                    .warn(&item.place, format_args!("{why}; this record in `dns.extra_records` is ignored"));
            }
        }
    }
    records
}

/// Checks a DNS record. Clients understand A and AAAA; a record without a type gets that of its address.
///
/// # Errors
/// What is wrong with the record.
pub(crate) fn extra_record(name: &str, kind: &str, value: &str) -> Result<ExtraRecord, String> {
    let name = normal(name);
    if name.is_empty() || name.len() > 253 {
        return Err(format!("the record name `{name}` is empty or longer than 253 bytes"));
    }
    if !kind.is_empty() && !kind.eq_ignore_ascii_case("A") && !kind.eq_ignore_ascii_case("AAAA") {
        return Err(format!(
            "the record for `{name}` has the type `{kind}`, but clients support only `A` and `AAAA`"
        ));
    }
    let ip: IpAddr = value.parse().map_err(|_| {
        format!("the record for `{name}` has the value `{value}`, which is not an IP address")
    })?;
    let (family, version) = if ip.is_ipv4() { ("A", "IPv4") } else { ("AAAA", "IPv6") };
    if !kind.is_empty() && !kind.eq_ignore_ascii_case(family) {
        return Err(format!(
            "the record for `{name}` has the type `{kind}`, but `{value}` is an {version} address"
        ));
    }
    Ok(ExtraRecord { name, kind: family.to_owned(), value: ip.to_string() })
}
