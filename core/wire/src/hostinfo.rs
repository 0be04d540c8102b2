//! What a client tells of its host (`tailcfg.Hostinfo`, `tailcfg.NetInfo`).

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::json::{is_default, null_default, opt_bool};

/// A host as its client describes it. Kept whole on the server; peers get the thin form of [`Hostinfo::for_peers`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Hostinfo {
    /// Client version.
    #[serde(rename = "IPNVersion", skip_serializing_if = "is_default")]
    pub ipn_version: String,
    /// Log stream of the user interface; never told to peers.
    #[serde(rename = "FrontendLogID", skip_serializing_if = "is_default")]
    pub frontend_log_id: String,
    /// Log stream of the daemon; never told to peers.
    #[serde(rename = "BackendLogID", skip_serializing_if = "is_default")]
    pub backend_log_id: String,
    /// Operating system.
    #[serde(rename = "OS", skip_serializing_if = "is_default")]
    pub os: String,
    /// Its version.
    #[serde(rename = "OSVersion", skip_serializing_if = "is_default")]
    pub os_version: String,
    /// Whether it runs in a container.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "opt_bool")]
    pub container: Option<bool>,
    /// Runtime environment.
    #[serde(skip_serializing_if = "is_default")]
    pub env: String,
    /// Linux distribution.
    #[serde(skip_serializing_if = "is_default")]
    pub distro: String,
    /// Its version.
    #[serde(skip_serializing_if = "is_default")]
    pub distro_version: String,
    /// Its code name.
    #[serde(skip_serializing_if = "is_default")]
    pub distro_code_name: String,
    /// The program that embeds the client.
    #[serde(skip_serializing_if = "is_default")]
    pub app: String,
    /// Whether a desktop was detected.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "opt_bool")]
    pub desktop: Option<bool>,
    /// How the client was packaged.
    #[serde(skip_serializing_if = "is_default")]
    pub package: String,
    /// Phone or machine model; never told to peers.
    #[serde(skip_serializing_if = "is_default")]
    pub device_model: String,
    /// Push token; never told to peers.
    #[serde(skip_serializing_if = "is_default")]
    pub push_device_token: String,
    /// Name of the host as its user set it; may be anything.
    #[serde(skip_serializing_if = "is_default")]
    pub hostname: String,
    /// Whether incoming connections are blocked.
    #[serde(skip_serializing_if = "is_default")]
    pub shields_up: bool,
    /// Whether the node is there because it was shared in.
    #[serde(skip_serializing_if = "is_default")]
    pub sharee_node: bool,
    /// Whether the client opted out of logs and support.
    #[serde(skip_serializing_if = "is_default")]
    pub no_logs_no_support: bool,
    /// Whether remote configuration is allowed.
    #[serde(skip_serializing_if = "is_default")]
    pub remote_config: bool,
    /// Whether Funnel may be wired.
    #[serde(skip_serializing_if = "is_default")]
    pub wire_ingress: bool,
    /// Whether Funnel is on.
    #[serde(skip_serializing_if = "is_default")]
    pub ingress_enabled: bool,
    /// Whether the client may be updated from here.
    #[serde(skip_serializing_if = "is_default")]
    pub allows_update: bool,
    /// Machine architecture.
    #[serde(skip_serializing_if = "is_default")]
    pub machine: String,
    /// Architecture that the client was built for.
    #[serde(skip_serializing_if = "is_default")]
    pub go_arch: String,
    /// Its variant.
    #[serde(skip_serializing_if = "is_default")]
    pub go_arch_var: String,
    /// Compiler version.
    #[serde(skip_serializing_if = "is_default")]
    pub go_version: String,
    /// Routes that the node offers.
    #[serde(
        rename = "RoutableIPs",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_default"
    )]
    pub routable_ips: Vec<IpNet>,
    /// Tags that the node asks for.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub request_tags: Vec<String>,
    /// Hardware addresses for wake-on-LAN.
    #[serde(rename = "WoLMACs", skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub wol_macs: Vec<String>,
    /// Services; the peerapi ones are what peers need.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub services: Vec<Service>,
    /// What the client measured of its network; never told to peers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_info: Option<NetInfo>,
    /// SSH host keys; present where Tailscale SSH is on.
    #[serde(
        rename = "sshHostKeys",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_default"
    )]
    pub ssh_host_keys: Vec<String>,
    /// Cloud provider.
    #[serde(skip_serializing_if = "is_default")]
    pub cloud: String,
    /// Whether the client runs without a TUN device.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "opt_bool")]
    pub userspace: Option<bool>,
    /// Whether subnet routing runs in user space.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "opt_bool")]
    pub userspace_router: Option<bool>,
    /// Whether the node is an app connector.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "opt_bool")]
    pub app_connector: Option<bool>,
    /// Hash of the services that the node hosts.
    #[serde(skip_serializing_if = "is_default")]
    pub services_hash: String,
    /// Whether the node relays for peers.
    #[serde(skip_serializing_if = "is_default")]
    pub peer_relay: bool,
    /// The exit node in use, by stable id.
    #[serde(rename = "ExitNodeID", skip_serializing_if = "is_default")]
    pub exit_node_id: String,
    /// Whether the client's state is encrypted on disk.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "opt_bool")]
    pub state_encrypted: Option<bool>,
}

impl Hostinfo {
    /// Every text that a client fills in freely, for whoever has to bound them.
    pub fn texts_mut(&mut self) -> [&mut String; 21] {
        [
            &mut self.ipn_version,
            &mut self.frontend_log_id,
            &mut self.backend_log_id,
            &mut self.os,
            &mut self.os_version,
            &mut self.env,
            &mut self.distro,
            &mut self.distro_version,
            &mut self.distro_code_name,
            &mut self.app,
            &mut self.package,
            &mut self.device_model,
            &mut self.push_device_token,
            &mut self.hostname,
            &mut self.machine,
            &mut self.go_arch,
            &mut self.go_arch_var,
            &mut self.go_version,
            &mut self.cloud,
            &mut self.services_hash,
            &mut self.exit_node_id,
        ]
    }

    /// The part that peers need, as the official service sends it: no log ids, tokens, models or network measurements.
    pub fn for_peers(&self) -> Hostinfo {
        Hostinfo {
            os: self.os.clone(),
            hostname: self.hostname.clone(),
            sharee_node: self.sharee_node,
            ingress_enabled: self.ingress_enabled,
            services: self.services.iter().filter(|s| s.proto.starts_with("peerapi")).cloned().collect(),
            ssh_host_keys: self.ssh_host_keys.clone(),
            app_connector: self.app_connector.filter(|on| *on),
            peer_relay: self.peer_relay,
            ..Hostinfo::default()
        }
    }
}

/// A service of a host (`tailcfg.Service`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Service {
    /// `tcp`, `udp`, `peerapi4`, `peerapi6` or `peerapi-dns-proxy`.
    pub proto: String,
    /// Port.
    pub port: u16,
    /// Text for people.
    #[serde(skip_serializing_if = "is_default")]
    pub description: String,
}

/// What a client measured of its network (`tailcfg.NetInfo`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetInfo {
    /// Whether the NAT is hard.
    #[serde(
        rename = "MappingVariesByDestIP",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_bool"
    )]
    pub mapping_varies_by_dest_ip: Option<bool>,
    /// Whether IPv6 reaches the internet.
    #[serde(rename = "WorkingIPv6", skip_serializing_if = "Option::is_none", deserialize_with = "opt_bool")]
    pub working_ipv6: Option<bool>,
    /// Whether the system has IPv6.
    #[serde(rename = "OSHasIPv6", skip_serializing_if = "Option::is_none", deserialize_with = "opt_bool")]
    pub os_has_ipv6: Option<bool>,
    /// Whether UDP works.
    #[serde(rename = "WorkingUDP", skip_serializing_if = "Option::is_none", deserialize_with = "opt_bool")]
    pub working_udp: Option<bool>,
    /// Whether ICMP works.
    #[serde(
        rename = "WorkingICMPv4",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_bool"
    )]
    pub working_icmpv4: Option<bool>,
    /// Whether a port map was seen before.
    #[serde(skip_serializing_if = "is_default")]
    pub have_port_map: bool,
    /// Whether UPnP is there.
    #[serde(rename = "UPnP", skip_serializing_if = "Option::is_none", deserialize_with = "opt_bool")]
    pub upnp: Option<bool>,
    /// Whether NAT-PMP is there.
    #[serde(rename = "PMP", skip_serializing_if = "Option::is_none", deserialize_with = "opt_bool")]
    pub pmp: Option<bool>,
    /// Whether PCP is there.
    #[serde(rename = "PCP", skip_serializing_if = "Option::is_none", deserialize_with = "opt_bool")]
    pub pcp: Option<bool>,
    /// Home region; 0 is none.
    #[serde(rename = "PreferredDERP", skip_serializing_if = "is_default")]
    pub preferred_derp: u32,
    /// `wired`, `wifi` or `mobile`.
    #[serde(skip_serializing_if = "is_default")]
    pub link_type: String,
    /// `<region>-v4` or `<region>-v6` to seconds.
    #[serde(
        rename = "DERPLatency",
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_default"
    )]
    pub derp_latency: BTreeMap<String, f64>,
    /// Firewall in use.
    #[serde(skip_serializing_if = "is_default")]
    pub firewall_mode: String,
}
