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

/// A map request: the client reports its state and asks for its network map.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MapRequest {
    /// The client's capability version.
    pub version: CapVer,
    /// `zstd`, or empty for no compression.
    pub compress: String,
    /// Whether the client wants keep-alives.
    pub keep_alive: bool,
    /// Key of the node the request speaks for.
    pub node_key: NodeKey,
    /// The node's discovery key; zero in requests that clients send while they start.
    pub disco_key: DiscoKey,
    /// Whether the response stays open and streams changes.
    pub stream: bool,
    /// Description of the host.
    pub hostinfo: Option<Hostinfo>,
    /// Addresses at which the node may be reached. Those that do not parse are ignored.
    #[serde(deserialize_with = "lenient_endpoints")]
    pub endpoints: Vec<SocketAddr>,
    /// Whether the request only reads: the server must not store what it reports.
    pub read_only: bool,
    /// Whether the client wants no peers. If `stream` is false too, this is a lite update.
    pub omit_peers: bool,
}

fn lenient_endpoints<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<SocketAddr>, D::Error> {
    let texts = Option::<Vec<String>>::deserialize(d)?.unwrap_or_default();
    Ok(texts.iter().filter_map(|t| t.parse().ok()).collect())
}

/// One frame of a map stream. What is absent has not changed. The client applies the fields about peers in the order in
/// which they are declared here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MapResponse {
    /// Whether the frame is only a keep-alive.
    #[serde(skip_serializing_if = "is_default")]
    pub keep_alive: bool,
    /// Asks the client for a ping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping_request: Option<PingRequest>,
    /// The node itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<Node>>,
    /// The DERP map.
    #[serde(rename = "DERPMap", skip_serializing_if = "Option::is_none")]
    pub derp_map: Option<Arc<DerpMap>>,
    /// All peers, replacing those the client knows. Non-empty only in a first frame.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub peers: Vec<Arc<Node>>,
    /// New peers, and peers that changed in a way a patch cannot express.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub peers_changed: Vec<Arc<Node>>,
    /// Peers that the node no longer sees.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub peers_removed: Vec<NodeId>,
    /// Patches of peers of which only a few fields changed.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub peers_changed_patch: Vec<PeerChange>,
    /// The node's DNS settings.
    #[serde(rename = "DNSConfig", skip_serializing_if = "Option::is_none")]
    pub dns_config: Option<Arc<DnsConfig>>,
    /// Name of the tailnet.
    #[serde(skip_serializing_if = "is_default")]
    pub domain: String,
    /// Whether clients should report their TCP and UDP services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collect_services: Option<bool>,
    /// Named parts of the packet filter. Null deletes a part; null for `*` first deletes all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packet_filters: Option<BTreeMap<String, Option<Arc<[FilterRule]>>>>,
    /// User profiles that this stream has not sent yet, or that have changed.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub user_profiles: Vec<UserProfile>,
    /// The node's SSH policy.
    #[serde(rename = "SSHPolicy", skip_serializing_if = "Option::is_none")]
    pub ssh_policy: Option<Arc<SshPolicy>>,
    /// The current time according to the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_time: Option<Time>,
    /// Debug settings of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debug: Option<Debug>,
}

/// Debug settings of the client (`tailcfg.Debug`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Debug {
    /// Whether the client stops sending its logs to the hosted log service.
    #[serde(skip_serializing_if = "is_default")]
    pub disable_log_tail: bool,
}

/// Asks a client to make a request to a URL (`tailcfg.PingRequest`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PingRequest {
    /// The URL to request, unique for each ping.
    #[serde(rename = "URL")]
    pub url: String,
    /// Whether the client makes the request over its Noise connection.
    #[serde(rename = "URLIsNoise")]
    pub url_is_noise: bool,
    /// Kinds of ping, separated by commas; empty for a plain HEAD request.
    pub types: String,
}

/// A node as sent to a client: the client's own node or a peer (`tailcfg.Node`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Node {
    /// Numeric id, which never changes.
    #[serde(rename = "ID")]
    pub id: NodeId,
    /// Opaque id, which never changes.
    #[serde(rename = "StableID")]
    pub stable_id: String,
    /// Fully qualified DNS name with a trailing dot.
    pub name: String,
    /// The user that owns the node; [`crate::ids::TAGGED_DEVICES`] if it is tagged.
    pub user: UserId,
    /// Node key, used for WireGuard and DERP.
    pub key: NodeKey,
    /// When the node key expires; `None` for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_expiry: Option<Time>,
    /// Machine key; sent only to the node itself.
    #[serde(default, skip_serializing_if = "is_default")]
    pub machine: MachineKey,
    /// Discovery key; zero if unknown.
    #[serde(default, skip_serializing_if = "is_default")]
    pub disco_key: DiscoKey,
    /// The node's addresses as host prefixes: IPv4 (/32), then IPv6 (/128).
    #[serde(default)]
    pub addresses: Vec<IpNet>,
    /// The node's addresses and the routes it serves.
    #[serde(rename = "AllowedIPs", default)]
    pub allowed_ips: Vec<IpNet>,
    /// Addresses at which the node may be reached directly. Written even if empty, because a client takes an absent list
    /// to be unchanged.
    #[serde(default)]
    pub endpoints: Vec<SocketAddr>,
    /// Home relay region; 0 for none.
    #[serde(rename = "HomeDERP", default, skip_serializing_if = "is_default")]
    pub home_derp: u32,
    /// Description of the host. Always present, because clients do not cope without it.
    #[serde(default)]
    pub hostinfo: Hostinfo,
    /// When the node first registered.
    pub created: Time,
    /// Capability version of the node's client.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cap: CapVer,
    /// Tags of the node, each with its `tag:` prefix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The subnet routes for which this node is the primary router.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub primary_routes: Vec<IpNet>,
    /// When the connection ended if the node is offline, when it began if online. Always present in a peer, because a
    /// client ignores a change to a time that was absent before (control/controlclient/map.go, peerChangeDiff).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,
    /// Whether the node is connected to the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online: Option<bool>,
    /// Whether the machine is authorised to be in the tailnet.
    #[serde(default, skip_serializing_if = "is_default")]
    pub machine_authorized: bool,
    /// Node capabilities: all of them for the node itself, the few that matter to others for a peer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cap_map: CapMap,
    /// Whether the node key has expired.
    #[serde(default, skip_serializing_if = "is_default")]
    pub expired: bool,
}

impl Node {
    /// Whether two views are equal in all fields that a [`PeerChange`] cannot carry.
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

/// A patch of a peer: the fields that changed (`tailcfg.PeerChange`). An absent field is unchanged, so a patch cannot
/// clear one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PeerChange {
    /// The peer to patch.
    #[serde(rename = "NodeID")]
    pub node_id: NodeId,
    /// New home relay region; 0 for unchanged.
    #[serde(rename = "DERPRegion", default, skip_serializing_if = "is_default")]
    pub derp_region: u32,
    /// New capability version; 0 for unchanged.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cap: CapVer,
    /// New set of capabilities, replacing the old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap_map: Option<CapMap>,
    /// New endpoints; empty for unchanged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<SocketAddr>,
    /// New node key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<NodeKey>,
    /// New discovery key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disco_key: Option<DiscoKey>,
    /// Whether the peer is now connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online: Option<bool>,
    /// New time of [`Node::last_seen`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,
    /// New expiry of the node key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_expiry: Option<Time>,
}

impl PeerChange {
    /// An empty patch for a node.
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
