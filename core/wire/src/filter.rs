//! Packet filter rules as a node receives them (`tailcfg.FilterRule`, tailcfg/tailcfg.go).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::json::Verbatim;

/// One rule for packets that come in at a node. Either `dst_ports` or `cap_grant` is filled, never both.
///
/// `SrcBits` and `NetPortRange.Bits` do not exist here on purpose: any use of them makes the client drop the whole filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FilterRule {
    /// Sources: an address, a CIDR, a range `a-b`, `*`, or `cap:<node capability>`.
    #[serde(rename = "SrcIPs", default)]
    pub src_ips: Vec<String>,
    /// Destinations and their ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dst_ports: Vec<NetPortRange>,
    /// IP protocol numbers; empty means TCP, UDP, ICMPv4 and ICMPv6.
    #[serde(rename = "IPProto", default, skip_serializing_if = "Vec::is_empty")]
    pub ip_proto: Vec<i32>,
    /// Capabilities that the sources get at the destinations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cap_grant: Vec<CapGrant>,
}

impl FilterRule {
    /// The rule that lets everything in: what a tailnet without a policy has.
    pub fn allow_all() -> FilterRule {
        FilterRule {
            src_ips: vec!["*".into()],
            dst_ports: vec![NetPortRange { ip: "*".into(), ports: PortRange { first: 0, last: 65535 } }],
            ..FilterRule::default()
        }
    }
}

/// A destination: an address, CIDR, range or `*`, and a range of ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetPortRange {
    /// An address, a CIDR, a range `a-b`, or `*`.
    #[serde(rename = "IP")]
    pub ip: String,
    /// The ports, both ends included.
    pub ports: PortRange,
}

/// Ports `first` to `last`, both included; 0 to 65535 is every port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PortRange {
    /// Lowest port.
    pub first: u16,
    /// Highest port.
    pub last: u16,
}

/// What the sources of a rule may do at `dsts` beyond sending packets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CapGrant {
    /// Destination prefixes, the receiving node's own addresses.
    pub dsts: Vec<String>,
    /// The older list of capability names without values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caps: Vec<String>,
    /// Capability name to its values, each any JSON.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cap_map: CapMap,
}

/// Capability name to its values; an empty list is a flag.
pub type CapMap = BTreeMap<String, Vec<Verbatim>>;
