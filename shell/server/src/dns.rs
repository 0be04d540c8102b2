//! The DNS settings that clients get, from the configuration and the file of extra records.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headsail_tailnet::model::node::Node;
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::dns::{DnsConfig, DnsRecord, Resolver};
use headsail_wire::json;
use serde::Deserialize;

use crate::config::{Dns, ExtraRecord, extra_record};
use crate::system::files;

/// How often the file of extra records is polled.
pub const WATCH_EVERY: Duration = Duration::from_secs(2);
/// Bounds on that file, because every node gets every record.
const MAX_FILE_BYTES: u64 = 4 << 20;
const MAX_RECORDS: usize = 10_000;
/// How many records with names of nodes are named in the log at once.
const MAX_WARNINGS: usize = 10;

/// The DNS settings of every node (`tailcfg.DNSConfig`).
///
/// Global resolvers replace those of the client's system only with `override_local_dns`; otherwise they are the
/// fallback for names that the client has no other resolver for. The route of the base domain is an empty list:
/// MagicDNS answers names below it, or nobody does, and they never leak to an outside resolver.
pub fn config(dns: &Dns) -> DnsConfig {
    let global: Vec<Resolver> = dns.global.iter().map(|addr| resolver(addr)).collect();
    let (resolvers, fallback_resolvers) =
        if dns.override_local_dns { (global, Vec::new()) } else { (Vec::new(), global) };
    let mut routes: std::collections::BTreeMap<String, Vec<Resolver>> = dns
        .split
        .iter()
        .map(|(domain, addrs)| (domain.clone(), addrs.iter().map(|addr| resolver(addr)).collect()))
        .collect();
    let base = Some(dns.base_domain.clone()).filter(|domain| !domain.is_empty());
    if let (true, Some(base)) = (dns.magic_dns, &base) {
        routes.entry(base.clone()).or_default();
    }
    let mut domains: Vec<String> = Vec::new();
    for domain in base.iter().chain(&dns.search_domains) {
        if !domains.contains(domain) {
            domains.push(domain.clone());
        }
    }
    DnsConfig {
        resolvers,
        routes,
        fallback_resolvers,
        domains,
        proxied: dns.magic_dns,
        extra_records: dns.extra_records.iter().map(record).collect(),
        ..DnsConfig::default()
    }
}

fn resolver(addr: &str) -> Resolver {
    Resolver { addr: addr.to_owned(), ..Resolver::default() }
}

fn record(record: &ExtraRecord) -> DnsRecord {
    DnsRecord { name: record.name.clone(), r#type: record.kind.clone(), value: record.value.clone() }
}

/// A record of the file. As in Headscale, the case of field names does not matter.
#[derive(Deserialize, Default)]
#[serde(default)]
struct FileRecord {
    name: String,
    r#type: String,
    value: String,
}

/// Reads a file of extra records: a JSON list of `{"name", "type", "value"}`. Records that clients do not support are
/// dropped with a warning, like those in the configuration file.
///
/// # Errors
/// The file cannot be read or is not such a list; the message names the file.
pub fn load_extra_records(path: &Path) -> Result<Vec<DnsRecord>, String> {
    extra_records(path, files::read_bounded(path, MAX_FILE_BYTES))
}

fn extra_records(path: &Path, text: io::Result<String>) -> Result<Vec<DnsRecord>, String> {
    let failed =
        |why: &dyn std::fmt::Display| format!("cannot load the DNS records from `{}`: {why}", path.display());
    let text = text.map_err(|error| failed(&error))?;
    let records: Vec<FileRecord> = json::decode(text.as_bytes()).map_err(|error| failed(&error))?;
    if records.len() > MAX_RECORDS {
        return Err(failed(&format_args!("the file has more than {MAX_RECORDS} records")));
    }
    let supported = |each: &FileRecord| {
        let checked = extra_record(&each.name, &each.r#type, &each.value);
        let warn = |why: &String| tracing::warn!("{why}; this record in `{}` is ignored", path.display());
        checked.inspect_err(warn).ok()
    };
    Ok(records.iter().filter_map(supported).map(|checked| record(&checked)).collect())
}

/// Polls a file of extra records, usually [`WATCH_EVERY`], and calls `publish` whenever the records change; `known` are
/// those from [`load_extra_records`]. While the file is missing, incomplete or invalid, the last records stay in
/// effect. Runs until dropped.
pub async fn watch_extra_records<F: Future<Output = ()>>(
    path: &Path,
    mut known: Vec<DnsRecord>,
    every: Duration,
    publish: impl Fn(Vec<DnsRecord>) -> F,
) {
    let mut watch = files::Watch::new(path.to_owned(), MAX_FILE_BYTES);
    loop {
        match extra_records(path, watch.next_change(every).await) {
            Ok(records) if records == known => {}
            Ok(records) => {
                tracing::info!(file = %path.display(), records = records.len(), "the extra DNS records were updated");
                known.clone_from(&records);
                publish(records).await;
            }
            Err(why) => tracing::warn!("{why}; the previous records stay in effect"),
        }
    }
}

/// Warns of extra records with the names of nodes, which had them before the records were there: clients get the addresses
/// of both.
pub fn warn_of_taken_names(tailnet: &Tailnet) {
    for (record, node) in taken_names(tailnet).take(MAX_WARNINGS) {
        let (name, id) = (&node.name, node.id);
        tracing::warn!(
            "the extra DNS record `{record}` has the name of node `{name}` ({id}); rename the node"
        );
    }
}

fn taken_names(tailnet: &Tailnet) -> impl Iterator<Item = (&str, &Arc<Node>)> {
    let settings = tailnet.settings();
    settings.dns.extra_records.iter().filter_map(|record| {
        let label = settings.node_label(&record.name)?.to_ascii_lowercase();
        Some((record.name.as_str(), tailnet.node_by_name(&label)?))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use headsail_tailnet::command::Command;
    use headsail_tailnet::model::settings::Settings;

    use super::*;
    use crate::testing;

    fn full() -> Dns {
        let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
        Dns {
            magic_dns: true,
            user_names: None,
            base_domain: "example.com".into(),
            override_local_dns: true,
            global: list(&["1.1.1.1", "2606:4700:4700::1111", "https://dns.nextdns.io/abc123"]),
            split: [("darp.headscale.net".to_owned(), list(&["1.1.1.1", "8.8.8.8"]))].into(),
            search_domains: list(&["test.com", "example.com"]),
            extra_records: vec![ExtraRecord {
                name: "grafana.example.com".into(),
                kind: "A".into(),
                value: "100.64.0.3".into(),
            }],
            extra_records_path: None,
        }
    }

    fn json(config: &DnsConfig) -> serde_json::Value {
        serde_json::to_value(config).unwrap()
    }

    #[test]
    fn the_settings_have_the_form_that_clients_expect() {
        let expected = serde_json::json!({
            "Resolvers": [{"Addr": "1.1.1.1"}, {"Addr": "2606:4700:4700::1111"}, {"Addr": "https://dns.nextdns.io/abc123"}],
            "Routes": {"darp.headscale.net": [{"Addr": "1.1.1.1"}, {"Addr": "8.8.8.8"}], "example.com": []},
            "Domains": ["example.com", "test.com"],
            "Proxied": true,
            "ExtraRecords": [{"Name": "grafana.example.com", "Type": "A", "Value": "100.64.0.3"}],
        });
        assert_eq!(json(&config(&full())), expected);
    }

    #[test]
    fn without_magic_dns_and_override_global_resolvers_are_a_fallback() {
        let dns = Dns { magic_dns: false, override_local_dns: false, ..full() };
        let got = json(&config(&dns));
        assert_eq!(got.get("Proxied"), None);
        assert_eq!(got.get("Resolvers"), None);
        assert_eq!(got["FallbackResolvers"].as_array().map(Vec::len), Some(3));
        assert_eq!(
            got["Routes"],
            serde_json::json!({"darp.headscale.net": [{"Addr": "1.1.1.1"}, {"Addr": "8.8.8.8"}]})
        );
        assert_eq!(got["Domains"], serde_json::json!(["example.com", "test.com"]));
        assert_eq!(json(&config(&Dns::default())), serde_json::json!({}));
    }

    #[test]
    fn a_configured_route_for_the_base_domain_is_kept() {
        let mut dns = full();
        dns.split.insert("example.com".into(), vec!["10.0.0.53".into()]);
        assert_eq!(config(&dns).routes["example.com"], [resolver("10.0.0.53")]);
    }

    #[test]
    fn record_files_are_read_and_errors_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records.json");
        fs::write(
            &path,
            r#"[{"Name":"A.b","type":"A","VALUE":"100.64.0.1"},{"name":"a.b","value":"fd7a::1"}]"#,
        )
        .unwrap();
        let records = load_extra_records(&path).unwrap();
        let shown: Vec<_> =
            records.iter().map(|r| (r.name.as_str(), r.r#type.as_str(), r.value.as_str())).collect();
        assert_eq!(shown, [("a.b", "A", "100.64.0.1"), ("a.b", "AAAA", "fd7a::1")]);
        let start = format!("cannot load the DNS records from `{}`: ", path.display());
        for (text, why) in [("", "EOF"), ("{", "EOF"), (r#"{"name":"a.b"}"#, "invalid type")] {
            fs::write(&path, text).unwrap();
            let error = load_extra_records(&path).unwrap_err();
            assert!(error.starts_with(&start) && error.contains(why), "{error}");
        }
        for unsupported in [
            r#"{"name":"a.b","type":"TXT","value":"hello"}"#,
            r#"{"name":"a.b","type":"A","value":"x"}"#,
            r#"{"type":"A","value":"1.2.3.4"}"#,
        ] {
            fs::write(&path, format!(r#"[{unsupported},{{"name":"a.b","value":"100.64.0.1"}}]"#)).unwrap();
            assert_eq!(load_extra_records(&path).unwrap(), records[..1]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_complete_changes_are_published() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records.json");
        let one = r#"[{"name":"a.b","type":"A","value":"100.64.0.1"}]"#;
        fs::write(&path, one).unwrap();
        let known = load_extra_records(&path).unwrap();
        let (sender, mut published) = tokio::sync::mpsc::unbounded_channel();
        let watching = path.clone();
        tokio::spawn(async move {
            watch_extra_records(&watching, known, WATCH_EVERY, |records| {
                let _ = sender.send(records[0].value.clone());
                async {}
            })
            .await;
        });
        for text in ["[{", one, &one.replace("0.1", "0.2")] {
            tokio::time::sleep(3 * WATCH_EVERY).await;
            fs::write(&path, text).unwrap();
        }
        // Neither the incomplete file nor the known records are published.
        assert_eq!(published.recv().await.as_deref(), Some("100.64.0.2"));
        fs::remove_file(&path).unwrap();
        tokio::time::sleep(3 * WATCH_EVERY).await;
        fs::write(&path, one).unwrap();
        assert_eq!(published.recv().await.as_deref(), Some("100.64.0.1"));
    }

    #[tokio::test]
    async fn records_with_names_of_nodes_are_found() {
        let tailnet = testing::tailnet();
        let alice = testing::user(&tailnet, "alice").await;
        let (node, _) = testing::let_in(&tailnet, 1, alice).await;
        let before = tailnet.clerk.snapshot();
        let record = |name: &str| DnsRecord { name: name.into(), ..DnsRecord::default() };
        let records = ["Web.mesh.internal.", "db.mesh.internal", "web.example.com"].map(record);
        let dns = Arc::new(DnsConfig { extra_records: records.into(), ..DnsConfig::default() });
        let settings = Settings { dns, ..Settings::clone(before.settings()) };
        let after = testing::submit(&tailnet, Command::Configure(Arc::new(settings))).await;
        let found: Vec<_> = taken_names(&after).map(|(record, node)| (record, node.id)).collect();
        assert_eq!(found, [("Web.mesh.internal.", node.id)]);
        assert_eq!(taken_names(&before).count(), 0);
    }
}
