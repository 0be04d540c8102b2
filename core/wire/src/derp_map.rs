//! The map of relays (`tailcfg.DERPMap`, tailcfg/derpmap.go).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::json::{is_default, null_default};

/// All relay regions by id.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DerpMap {
    /// Hints for the choice of a home region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home_params: Option<HomeParams>,
    /// Regions by id; the key equals the region's `region_id`.
    #[serde(deserialize_with = "null_default")]
    pub regions: BTreeMap<u32, DerpRegion>,
    /// Whether the client should forget the regions that it was built with.
    #[serde(rename = "omitDefaultRegions", skip_serializing_if = "is_default")]
    pub omit_default_regions: bool,
}

/// Hints for the choice of a home region (`tailcfg.DERPHomeParams`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HomeParams {
    /// Region id to the factor that its measured latency is multiplied with; below 1 is preferred.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_default")]
    pub region_score: BTreeMap<u32, f64>,
}

/// A set of relays near each other (`tailcfg.DERPRegion`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DerpRegion {
    /// 1 to 65535; 900 to 999 are for users of their own.
    #[serde(rename = "RegionID")]
    pub region_id: u32,
    /// Short name.
    pub region_code: String,
    /// Name for people.
    pub region_name: String,
    /// Degrees north.
    #[serde(skip_serializing_if = "is_default")]
    pub latitude: f64,
    /// Degrees east.
    #[serde(skip_serializing_if = "is_default")]
    pub longitude: f64,
    /// Never chosen as home by itself.
    #[serde(skip_serializing_if = "is_default")]
    pub avoid: bool,
    /// Usable, but neither measured nor chosen as home.
    #[serde(skip_serializing_if = "is_default")]
    pub no_measure_no_home: bool,
    /// The relays, in the order in which clients try them.
    #[serde(deserialize_with = "null_default")]
    pub nodes: Vec<DerpNode>,
}

/// One relay (`tailcfg.DERPNode`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DerpNode {
    /// Unique name, such as `999a`.
    pub name: String,
    /// The region that it belongs to.
    #[serde(rename = "RegionID")]
    pub region_id: u32,
    /// DNS name or IP literal; the TLS server name.
    pub host_name: String,
    /// Another name to verify the certificate with, or `sha256-raw:<hex>` of the whole leaf in DER.
    #[serde(skip_serializing_if = "is_default")]
    pub cert_name: String,
    /// IPv4 literal instead of DNS; `none` turns IPv4 off.
    #[serde(rename = "IPv4", skip_serializing_if = "is_default")]
    pub ipv4: String,
    /// IPv6 literal instead of DNS; `none` turns IPv6 off.
    #[serde(rename = "IPv6", skip_serializing_if = "is_default")]
    pub ipv6: String,
    /// UDP port of STUN; 0 is 3478, -1 is none.
    #[serde(rename = "STUNPort", skip_serializing_if = "is_default")]
    pub stun_port: i32,
    /// Answers STUN but relays nothing.
    #[serde(rename = "STUNOnly", skip_serializing_if = "is_default")]
    pub stun_only: bool,
    /// TCP port of the relay; 0 is 443.
    #[serde(rename = "DERPPort", skip_serializing_if = "is_default")]
    pub derp_port: i32,
    /// Skips the verification of the certificate.
    #[serde(skip_serializing_if = "is_default")]
    pub insecure_for_tests: bool,
    /// Another address for STUN.
    #[serde(rename = "STUNTestIP", skip_serializing_if = "is_default")]
    pub stun_test_ip: String,
    /// Whether it also answers on port 80 (captive portal probes).
    #[serde(rename = "CanPort80", skip_serializing_if = "is_default")]
    pub can_port_80: bool,
}
