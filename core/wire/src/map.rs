//! `POST /machine/map` (`tailcfg.MapRequest`, `tailcfg.MapResponse`, `tailcfg.Node`, `tailcfg.PeerChange`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::capver::CapVer;
use crate::derp_map::DerpMap;
use crate::dns::DnsConfig;
use crate::filter::{CapMap, FilterRule};
use crate::hostinfo::Hostinfo;
use crate::ids::{NodeId, UserId};
use crate::json::{is_default, null_default};
use crate::keys::{DiscoKey, MachineKey, NodeKey};
use crate::ssh::SshPolicy;
use crate::time::Time;
use crate::user::UserProfile;

/// What a client asks for, and tells, with a map request.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MapRequest {
    /// The client's capability version.
    pub version: CapVer,
    /// `zstd` or nothing.
    pub compress: String,
    /// Whether keep-alives are wanted.
    pub keep_alive: bool,
    /// The node that asks.
    pub node_key: NodeKey,
    /// Its discovery key; zero from very early calls.
    pub disco_key: DiscoKey,
    /// Whether the answer stays open.
    pub stream: bool,
    /// The host.
    pub hostinfo: Option<Hostinfo>,
    /// Where the node may be reached. Addresses that don't parse are left out, not refused.
    #[serde(deserialize_with = "lenient_endpoints")]
    pub endpoints: Vec<SocketAddr>,
    /// Wants a map, changes nothing.
    pub read_only: bool,
    /// Wants no peers: with `stream` false, a lite update.
    pub omit_peers: bool,
}

fn lenient_endpoints<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<SocketAddr>, D::Error> {
    let texts = Option::<Vec<String>>::deserialize(d)?.unwrap_or_default();
    Ok(texts.iter().filter_map(|t| t.parse().ok()).collect())
}

/// One frame of a map stream. Absent parts are unchanged; the client applies the peer parts in the order in which they stand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MapResponse {
    /// Nothing but a sign of life.
    #[serde(skip_serializing_if = "is_default")]
    pub keep_alive: bool,
    /// Asks the client for a ping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping_request: Option<PingRequest>,
    /// The node itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<Node>>,
    /// The relays.
    #[serde(rename = "DERPMap", skip_serializing_if = "Option::is_none")]
    pub derp_map: Option<Arc<DerpMap>>,
    /// Every peer: full replacement, only ever non-empty and in a first frame.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub peers: Vec<Arc<Node>>,
    /// New and wholly changed peers.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub peers_changed: Vec<Arc<Node>>,
    /// Peers that are gone.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub peers_removed: Vec<NodeId>,
    /// Peers of which a few fields changed.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub peers_changed_patch: Vec<PeerChange>,
    /// DNS settings.
    #[serde(rename = "DNSConfig", skip_serializing_if = "Option::is_none")]
    pub dns_config: Option<Arc<DnsConfig>>,
    /// Name of the tailnet.
    #[serde(skip_serializing_if = "is_default")]
    pub domain: String,
    /// Whether clients should report their TCP and UDP services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collect_services: Option<bool>,
    /// Named parts of the packet filter; null deletes one, `*` with null deletes all first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packet_filters: Option<BTreeMap<String, Option<Arc<[FilterRule]>>>>,
    /// Profiles of users that are new to this stream.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub user_profiles: Vec<UserProfile>,
    /// SSH policy.
    #[serde(rename = "SSHPolicy", skip_serializing_if = "Option::is_none")]
    pub ssh_policy: Option<Arc<SshPolicy>>,
    /// The server's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_time: Option<Time>,
    /// Switches of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debug: Option<Debug>,
}

/// Switches of the client (`tailcfg.Debug`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Debug {
    /// The client stops sending its logs to the hosted log service.
    #[serde(skip_serializing_if = "is_default")]
    pub disable_log_tail: bool,
}

/// Asks a client to answer at a URL (`tailcfg.PingRequest`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PingRequest {
    /// Unique for each request.
    #[serde(rename = "URL")]
    pub url: String,
    /// Whether the answer comes over Noise.
    #[serde(rename = "URLIsNoise")]
    pub url_is_noise: bool,
    /// Empty for a HEAD request, or what to ping.
    pub types: String,
}

/// A node, as itself or as a peer (`tailcfg.Node`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Node {
    /// Number for its whole life.
    #[serde(rename = "ID")]
    pub id: NodeId,
    /// Opaque id for its whole life.
    #[serde(rename = "StableID")]
    pub stable_id: String,
    /// Fully qualified name with a dot at the end.
    pub name: String,
    /// Owner; [`crate::ids::TAGGED_DEVICES`] for tagged nodes.
    pub user: UserId,
    /// WireGuard key.
    pub key: NodeKey,
    /// `None` never expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_expiry: Option<Time>,
    /// Machine key; told to the node itself only.
    #[serde(default, skip_serializing_if = "is_default")]
    pub machine: MachineKey,
    /// Discovery key.
    #[serde(default, skip_serializing_if = "is_default")]
    pub disco_key: DiscoKey,
    /// Own addresses: IPv4/32, then IPv6/128.
    #[serde(default)]
    pub addresses: Vec<IpNet>,
    /// Own addresses, and the routes that go through it.
    #[serde(rename = "AllowedIPs", default)]
    pub allowed_ips: Vec<IpNet>,
    /// Where it may be reached directly. Written even when empty: a client takes an absent list for an unchanged one.
    #[serde(default)]
    pub endpoints: Vec<SocketAddr>,
    /// Home relay region; 0 for none.
    #[serde(rename = "HomeDERP", default, skip_serializing_if = "is_default")]
    pub home_derp: u32,
    /// Its host; always present, clients stumble over its absence.
    #[serde(default)]
    pub hostinfo: Hostinfo,
    /// When it registered first.
    pub created: Time,
    /// Its own capability version.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cap: CapVer,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The routes for which it is the one in charge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub primary_routes: Vec<IpNet>,
    /// While offline, when its connection ended; while online, when it began. Always present: a client drops the
    /// change of a time that was absent before (control/controlclient/map.go, peerChangeDiff).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,
    /// Whether it is connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online: Option<bool>,
    /// Whether an administrator let the machine in.
    #[serde(default, skip_serializing_if = "is_default")]
    pub machine_authorized: bool,
    /// Capabilities: of the node itself, or the few that peers need.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cap_map: CapMap,
    /// Whether its key has expired.
    #[serde(default, skip_serializing_if = "is_default")]
    pub expired: bool,
}

impl Node {
    /// Whether two views agree on everything that a [`PeerChange`] can't carry.
    pub fn same_but_patchable(&self, other: &Node) -> bool {
        let Node {
            id,
            stable_id,
            name,
            user,
            machine,
            addresses,
            allowed_ips,
            hostinfo,
            created,
            tags,
            primary_routes,
            machine_authorized,
            expired,
            key: _,
            key_expiry: _,
            disco_key: _,
            endpoints: _,
            home_derp: _,
            cap: _,
            last_seen: _,
            online: _,
            cap_map: _,
        } = self;
        *id == other.id
            && *stable_id == other.stable_id
            && *name == other.name
            && *user == other.user
            && *machine == other.machine
            && *addresses == other.addresses
            && *allowed_ips == other.allowed_ips
            && *hostinfo == other.hostinfo
            && *created == other.created
            && *tags == other.tags
            && *primary_routes == other.primary_routes
            && *machine_authorized == other.machine_authorized
            && *expired == other.expired
    }
}

/// A few changed fields of a peer (`tailcfg.PeerChange`); absent ones are unchanged, so a patch can't clear a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PeerChange {
    /// The peer.
    #[serde(rename = "NodeID")]
    pub node_id: NodeId,
    /// New home relay region.
    #[serde(rename = "DERPRegion", default, skip_serializing_if = "is_default")]
    pub derp_region: u32,
    /// New capability version.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cap: CapVer,
    /// New capabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap_map: Option<CapMap>,
    /// New endpoints, never empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<SocketAddr>,
    /// New WireGuard key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<NodeKey>,
    /// New discovery key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disco_key: Option<DiscoKey>,
    /// Whether it is connected now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online: Option<bool>,
    /// When it was last connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,
    /// New expiry of its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_expiry: Option<Time>,
}

impl PeerChange {
    /// A patch of `node` that changes nothing yet.
    pub fn of(node_id: NodeId) -> PeerChange {
        PeerChange {
            node_id,
            derp_region: 0,
            cap: CapVer::default(),
            cap_map: None,
            endpoints: Vec::new(),
            key: None,
            disco_key: None,
            online: None,
            last_seen: None,
            key_expiry: None,
        }
    }
}
