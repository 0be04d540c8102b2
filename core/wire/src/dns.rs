//! A node's DNS settings (`tailcfg.DNSConfig`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::json::{is_default, null_default};

/// The configuration of a node's resolver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DnsConfig {
    /// Resolvers for all names; if there are any, they override the system's.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub resolvers: Vec<Resolver>,
    /// Split DNS: domain suffix to its resolvers. With an empty list, only MagicDNS answers for the suffix.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_lists")]
    pub routes: BTreeMap<String, Vec<Resolver>>,
    /// Resolvers for names outside `routes`, for systems where split DNS needs an explicit upstream.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub fallback_resolvers: Vec<Resolver>,
    /// Search domains, the tailnet's own first.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub domains: Vec<String>,
    /// Whether MagicDNS is enabled.
    #[serde(skip_serializing_if = "is_default")]
    pub proxied: bool,
    /// Names for which this node may obtain TLS certificates.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub cert_domains: Vec<String>,
    /// Extra A and AAAA records that MagicDNS answers with.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub extra_records: Vec<DnsRecord>,
    /// Suffixes that this node refuses to resolve for others when it is an exit node.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub exit_node_filtered_set: Vec<String>,
}

/// One upstream resolver (`dnstype.Resolver`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Resolver {
    /// `1.2.3.4`, `1.2.3.4:53`, or an http(s) URL for DNS over HTTPS.
    #[serde(skip_serializing_if = "is_default")]
    pub addr: String,
    /// Addresses of the host in `addr`, so that it can be reached without DNS.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub bootstrap_resolution: Vec<String>,
    /// Whether it stays in use while an exit node is selected.
    #[serde(skip_serializing_if = "is_default")]
    pub use_with_exit_node: bool,
}

/// An extra record (`tailcfg.DNSRecord`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DnsRecord {
    /// Fully qualified name, lower case.
    pub name: String,
    /// `A` or `AAAA`; if empty, the value decides.
    #[serde(skip_serializing_if = "is_default")]
    pub r#type: String,
    /// The IP address, as text.
    pub value: String,
}

fn null_lists<'de, D: serde::Deserializer<'de>>(d: D) -> Result<BTreeMap<String, Vec<Resolver>>, D::Error> {
    let map = Option::<BTreeMap<String, Option<Vec<Resolver>>>>::deserialize(d)?.unwrap_or_default();
    Ok(map.into_iter().map(|(suffix, list)| (suffix, list.unwrap_or_default())).collect())
}
