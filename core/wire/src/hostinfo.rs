//! What a client reports about its host (`tailcfg.Hostinfo`, `tailcfg.NetInfo`).

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::json::{is_default, null_default, opt_bool};

/// A host as its client describes it. The server keeps all of it; peers get the subset of [`Hostinfo::for_peers`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Hostinfo {
    /// Version of the client.
    #[serde(rename = "IPNVersion", skip_serializing_if = "is_default")]
    pub ipn_version: String,
    /// Id of the user interface's log stream; never sent to peers.
    #[serde(rename = "FrontendLogID", skip_serializing_if = "is_default")]
    pub frontend_log_id: String,
    /// Id of the daemon's log stream; never sent to peers.
    #[serde(rename = "BackendLogID", skip_serializing_if = "is_default")]
    pub backend_log_id: String,
    /// Operating system, such as `linux` or `windows`.
    #[serde(rename = "OS", skip_serializing_if = "is_default")]
    pub os: String,
    /// Version of the operating system.
    #[serde(rename = "OSVersion", skip_serializing_if = "is_default")]
    pub os_version: String,
    /// Whether the client runs in a container.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "opt_bool")]
    pub container: Option<bool>,
    /// Runtime environment, as a short code, such as that of a hosting service.
    #[serde(skip_serializing_if = "is_default")]
    pub env: String,
    /// Name of the Linux distribution.
    #[serde(skip_serializing_if = "is_default")]
    pub distro: String,
    /// Version of the Linux distribution.
    #[serde(skip_serializing_if = "is_default")]
    pub distro_version: String,
    /// Code name of the Linux distribution's release.
    #[serde(skip_serializing_if = "is_default")]
    pub distro_code_name: String,
    /// Name of the program that embeds the client, if one does.
    #[serde(skip_serializing_if = "is_default")]
    pub app: String,
    /// Whether the host has a desktop environment.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "opt_bool")]
    pub desktop: Option<bool>,
    /// How the client was packaged.
    #[serde(skip_serializing_if = "is_default")]
    pub package: String,
    /// Model of the phone or machine; never sent to peers.
    #[serde(skip_serializing_if = "is_default")]
    pub device_model: String,
    /// Token for push notifications; never sent to peers.
    #[serde(skip_serializing_if = "is_default")]
    pub push_device_token: String,
    /// Host name as the user set it: any text.
    #[serde(skip_serializing_if = "is_default")]
    pub hostname: String,
    /// Whether the client blocks incoming connections.
    #[serde(skip_serializing_if = "is_default")]
    pub shields_up: bool,
    /// Whether the node was shared into this tailnet.
    #[serde(skip_serializing_if = "is_default")]
    pub sharee_node: bool,
    /// Whether the client opted out of sending logs, and so of support.
    #[serde(skip_serializing_if = "is_default")]
    pub no_logs_no_support: bool,
    /// Whether the client allows remote configuration.
    #[serde(skip_serializing_if = "is_default")]
    pub remote_config: bool,
    /// Whether the client wants the server to set up Funnel for it.
    #[serde(skip_serializing_if = "is_default")]
    pub wire_ingress: bool,
    /// Whether Funnel is enabled.
    #[serde(skip_serializing_if = "is_default")]
    pub ingress_enabled: bool,
    /// Whether the client accepts remotely triggered updates.
    #[serde(skip_serializing_if = "is_default")]
    pub allows_update: bool,
    /// Architecture of the machine.
    #[serde(skip_serializing_if = "is_default")]
    pub machine: String,
    /// Architecture the client was built for (`GOARCH`).
    #[serde(skip_serializing_if = "is_default")]
    pub go_arch: String,
    /// Variant of that architecture, such as `GOARM`.
    #[serde(skip_serializing_if = "is_default")]
    pub go_arch_var: String,
    /// Version of the Go toolchain that built the client.
    #[serde(skip_serializing_if = "is_default")]
    pub go_version: String,
    /// Routes that the node advertises.
    #[serde(
        rename = "RoutableIPs",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_default"
    )]
    pub routable_ips: Vec<IpNet>,
    /// Tags that the node requests.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub request_tags: Vec<String>,
    /// Hardware addresses for wake-on-LAN.
    #[serde(rename = "WoLMACs", skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub wol_macs: Vec<String>,
    /// Services on the host. Peers only need the peerapi ones.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub services: Vec<Service>,
    /// The client's measurements of its network; never sent to peers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_info: Option<NetInfo>,
    /// SSH host keys; present if Tailscale SSH is enabled.
    #[serde(
        rename = "sshHostKeys",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_default"
    )]
    pub ssh_host_keys: Vec<String>,
    /// Cloud provider that hosts the machine.
    #[serde(skip_serializing_if = "is_default")]
    pub cloud: String,
    /// Whether the client runs without a TUN device.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "opt_bool")]
    pub userspace: Option<bool>,
    /// Whether the client routes subnets in user space.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "opt_bool")]
    pub userspace_router: Option<bool>,
    /// Whether the node is an app connector.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "opt_bool")]
    pub app_connector: Option<bool>,
    /// Hash of the Tailscale services that the node hosts.
    #[serde(skip_serializing_if = "is_default")]
    pub services_hash: String,
    /// Whether the node acts as a relay for its peers.
    #[serde(skip_serializing_if = "is_default")]
    pub peer_relay: bool,
    /// Stable id of the exit node in use; empty for none.
    #[serde(rename = "ExitNodeID", skip_serializing_if = "is_default")]
    pub exit_node_id: String,
    /// Whether the client's state is encrypted on disk.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "opt_bool")]
    pub state_encrypted: Option<bool>,
}

impl Hostinfo {
    /// Every free-text field, for the caller to limit its length.
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

    /// The subset that peers need and the official service sends: no log ids, tokens, models or network measurements.
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
    /// The port it listens on.
    pub port: u16,
    /// Description for display, such as the name of the process.
    #[serde(skip_serializing_if = "is_default")]
    pub description: String,
}

/// A client's measurements of its network (`tailcfg.NetInfo`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetInfo {
    /// Whether the NAT maps each destination to a different port (a "hard" NAT).
    #[serde(
        rename = "MappingVariesByDestIP",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_bool"
    )]
    pub mapping_varies_by_dest_ip: Option<bool>,
    /// Whether the host reaches the internet over IPv6.
    #[serde(rename = "WorkingIPv6", skip_serializing_if = "Option::is_none", deserialize_with = "opt_bool")]
    pub working_ipv6: Option<bool>,
    /// Whether the operating system supports IPv6.
    #[serde(rename = "OSHasIPv6", skip_serializing_if = "Option::is_none", deserialize_with = "opt_bool")]
    pub os_has_ipv6: Option<bool>,
    /// Whether UDP traffic gets through.
    #[serde(rename = "WorkingUDP", skip_serializing_if = "Option::is_none", deserialize_with = "opt_bool")]
    pub working_udp: Option<bool>,
    /// Whether ICMPv4 traffic gets through.
    #[serde(
        rename = "WorkingICMPv4",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "opt_bool"
    )]
    pub working_icmpv4: Option<bool>,
    /// Whether the client has a port mapping open.
    #[serde(skip_serializing_if = "is_default")]
    pub have_port_map: bool,
    /// Whether the router offers UPnP.
    #[serde(rename = "UPnP", skip_serializing_if = "Option::is_none", deserialize_with = "opt_bool")]
    pub upnp: Option<bool>,
    /// Whether the router offers NAT-PMP.
    #[serde(rename = "PMP", skip_serializing_if = "Option::is_none", deserialize_with = "opt_bool")]
    pub pmp: Option<bool>,
    /// Whether the router offers PCP.
    #[serde(rename = "PCP", skip_serializing_if = "Option::is_none", deserialize_with = "opt_bool")]
    pub pcp: Option<bool>,
    /// Home relay region; 0 for none.
    #[serde(rename = "PreferredDERP", skip_serializing_if = "is_default")]
    pub preferred_derp: u32,
    /// `wired`, `wifi` or `mobile`.
    #[serde(skip_serializing_if = "is_default")]
    pub link_type: String,
    /// Latency in seconds, by `<region>-v4` or `<region>-v6`.
    #[serde(
        rename = "DERPLatency",
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_default"
    )]
    pub derp_latency: BTreeMap<String, f64>,
    /// How the client configures the firewall, such as `nft-default`.
    #[serde(skip_serializing_if = "is_default")]
    pub firewall_mode: String,
}
