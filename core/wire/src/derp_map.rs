//! The DERP map, which lists the relays (`tailcfg.DERPMap`, tailcfg/derpmap.go).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::json::{is_default, null_default};

/// All relay regions, by region id.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DerpMap {
    /// Hints for choosing a home region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home_params: Option<HomeParams>,
    /// Regions by id; the key equals the region's `region_id`.
    #[serde(deserialize_with = "null_default")]
    pub regions: BTreeMap<u32, DerpRegion>,
    /// Whether the client drops the regions that are compiled into it.
    #[serde(rename = "omitDefaultRegions", skip_serializing_if = "is_default")]
    pub omit_default_regions: bool,
}

/// Hints for choosing a home region (`tailcfg.DERPHomeParams`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HomeParams {
    /// Region id to a factor for its measured latency; a factor below 1 makes the region more attractive.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_default")]
    pub region_score: BTreeMap<u32, f64>,
}

/// A group of relays in one place (`tailcfg.DERPRegion`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DerpRegion {
    /// 1 to 65535; 900 to 999 are reserved for self-hosted regions.
    #[serde(rename = "RegionID")]
    pub region_id: u32,
    /// Short name, such as `fra`.
    pub region_code: String,
    /// Display name, such as `Frankfurt`.
    pub region_name: String,
    /// Latitude in degrees; north is positive.
    #[serde(skip_serializing_if = "is_default")]
    pub latitude: f64,
    /// Longitude in degrees; east is positive.
    #[serde(skip_serializing_if = "is_default")]
    pub longitude: f64,
    /// Clients do not choose this region as home on their own.
    #[serde(skip_serializing_if = "is_default")]
    pub avoid: bool,
    /// Clients use this region to reach peers, but neither measure it nor choose it as home.
    #[serde(skip_serializing_if = "is_default")]
    pub no_measure_no_home: bool,
    /// The relays of the region, in the order in which clients try them.
    #[serde(deserialize_with = "null_default")]
    pub nodes: Vec<DerpNode>,
}

/// One relay (`tailcfg.DERPNode`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DerpNode {
    /// Name, unique in the whole map, such as `999a`.
    pub name: String,
    /// The region this relay belongs to.
    #[serde(rename = "RegionID")]
    pub region_id: u32,
    /// DNS name or IP literal; also the TLS server name.
    pub host_name: String,
    /// The name to verify the certificate against, if not `host_name`; or `sha256-raw:<hex>`, the hash of the leaf
    /// certificate's DER encoding.
    #[serde(skip_serializing_if = "is_default")]
    pub cert_name: String,
    /// IPv4 address that replaces the DNS lookup; `none` disables IPv4.
    #[serde(rename = "IPv4", skip_serializing_if = "is_default")]
    pub ipv4: String,
    /// IPv6 address that replaces the DNS lookup; `none` disables IPv6.
    #[serde(rename = "IPv6", skip_serializing_if = "is_default")]
    pub ipv6: String,
    /// UDP port of STUN; 0 stands for 3478, -1 disables STUN.
    #[serde(rename = "STUNPort", skip_serializing_if = "is_default")]
    pub stun_port: i32,
    /// Whether it answers STUN but does not relay.
    #[serde(rename = "STUNOnly", skip_serializing_if = "is_default")]
    pub stun_only: bool,
    /// TCP port of the relay; 0 stands for 443.
    #[serde(rename = "DERPPort", skip_serializing_if = "is_default")]
    pub derp_port: i32,
    /// Whether clients skip certificate verification.
    #[serde(skip_serializing_if = "is_default")]
    pub insecure_for_tests: bool,
    /// Address that overrides the relay's own for STUN.
    #[serde(rename = "STUNTestIP", skip_serializing_if = "is_default")]
    pub stun_test_ip: String,
    /// Whether it also answers on port 80, for captive portal detection.
    #[serde(rename = "CanPort80", skip_serializing_if = "is_default")]
    pub can_port_80: bool,
}
