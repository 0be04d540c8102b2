//! Packet filter rules as a node receives them (`tailcfg.FilterRule`, tailcfg/tailcfg.go).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::json::Verbatim;

/// One rule for a node's incoming packets. Exactly one of `dst_ports` and `cap_grant` is filled in.
///
/// `SrcBits` and `NetPortRange.Bits` are left out on purpose: a client that receives them drops the whole filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FilterRule {
    /// Sources: an address, a CIDR, a range `a-b`, `*`, or `cap:<node capability>`.
    #[serde(rename = "SrcIPs", default)]
    pub src_ips: Vec<String>,
    /// Destination addresses and ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dst_ports: Vec<NetPortRange>,
    /// IP protocol numbers; empty means TCP, UDP, ICMPv4 and ICMPv6.
    #[serde(rename = "IPProto", default, skip_serializing_if = "Vec::is_empty")]
    pub ip_proto: Vec<i32>,
    /// Capabilities that the sources have at the destinations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cap_grant: Vec<CapGrant>,
}

impl FilterRule {
    /// The rule that allows everything: the filter of a tailnet without a policy.
    pub fn allow_all() -> FilterRule {
        FilterRule {
            src_ips: vec!["*".into()],
            dst_ports: vec![NetPortRange { ip: "*".into(), ports: PortRange { first: 0, last: 65535 } }],
            ..FilterRule::default()
        }
    }
}

/// A destination: addresses and a range of ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetPortRange {
    /// An address, a CIDR, a range `a-b`, or `*`.
    #[serde(rename = "IP")]
    pub ip: String,
    /// The destination ports.
    pub ports: PortRange,
}

/// Ports `first` to `last`, inclusive; 0 to 65535 stands for all ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PortRange {
    /// The lowest port.
    pub first: u16,
    /// The highest port, inclusive.
    pub last: u16,
}

/// Application capabilities that the sources of a rule have at `dsts` (`tailcfg.CapGrant`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CapGrant {
    /// Destination prefixes; they are the receiving node's own addresses.
    pub dsts: Vec<String>,
    /// Names of capabilities without values, the older form of `cap_map`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caps: Vec<String>,
    /// Capability name to its values, each of which is any JSON value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cap_map: CapMap,
}

/// Capability name to its values; an empty list is a flag.
pub type CapMap = BTreeMap<String, Vec<Verbatim>>;
