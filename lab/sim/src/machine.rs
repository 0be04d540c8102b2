//! The machine of a model client: its keys, and what it reports about itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use headsail_tailnet::command::{Registration, ShownKey, Telling};
use headsail_wire::capver::CapVer;
use headsail_wire::hostinfo::{Hostinfo, NetInfo, Service};
use headsail_wire::keys::{DiscoKey, MachineKey, NodeKey};
use headsail_wire::time::Time;

use crate::rng::Rng;

/// Hostnames that clients report, usual and unusual.
const HOSTNAMES: [&str; 12] = [
    "web",
    "web",
    "web-1",
    "Web",
    "db.local",
    "Joe's Mac mini",
    "日本",
    "",
    "--",
    "mail.server",
    "_x_",
    "a-name-that-is-much-longer-than-any-label-may-be-and-then-goes-on-for-a-while",
];

/// A machine on which a client runs.
pub struct Machine {
    pub key: MachineKey,
    pub node_key: NodeKey,
    /// The previous node key; zero for none.
    pub old_node_key: NodeKey,
    /// All node keys that it has ever had.
    pub held: Vec<NodeKey>,
    hostinfo: Hostinfo,
    endpoints: Vec<SocketAddr>,
    disco_key: DiscoKey,
    cap: CapVer,
    /// The address that its connection comes from.
    source: Option<IpAddr>,
}

impl Machine {
    /// A new machine.
    pub fn new(rng: &mut Rng) -> Machine {
        let node_key = NodeKey::from_bytes(rng.bytes());
        let mut machine = Machine {
            key: MachineKey::from_bytes(rng.bytes()),
            node_key,
            old_node_key: NodeKey::default(),
            held: vec![node_key],
            hostinfo: Hostinfo::default(),
            endpoints: Vec::new(),
            disco_key: DiscoKey::default(),
            cap: CapVer(113 + rng.below(30) as u32),
            source: source(rng),
        };
        machine.rename_host(rng);
        if rng.chance(40) {
            machine.hostinfo.routable_ips = routes(rng);
        }
        machine
    }

    /// Generates a new node key.
    pub fn rotate(&mut self, rng: &mut Rng) {
        self.old_node_key = self.node_key;
        self.node_key = NodeKey::from_bytes(rng.bytes());
        self.held.push(self.node_key);
    }

    pub fn rename_host(&mut self, rng: &mut Rng) {
        self.hostinfo.hostname = rng.pick(&HOSTNAMES).copied().unwrap_or_default().to_owned();
    }

    /// Changes something about the host or its network.
    pub fn change(&mut self, rng: &mut Rng) {
        match rng.below(9) {
            0 => self.rename_host(rng),
            1 => self.hostinfo.routable_ips = routes(rng),
            2 => self.hostinfo.request_tags = request_tags(rng),
            3 => self.hostinfo.services = services(rng),
            4 => {
                self.disco_key =
                    if rng.chance(90) { DiscoKey::from_bytes(rng.bytes()) } else { DiscoKey::default() }
            }
            5 => self.cap = CapVer(113 + rng.below(30) as u32),
            6 => self.hostinfo.os = if rng.chance(50) { "linux".into() } else { "macOS".into() },
            7 => self.roam(rng),
            _ => self.hostinfo.net_info = rng.chance(80).then(|| net_info(rng)),
        }
    }

    /// Moves the machine to another network.
    pub fn roam(&mut self, rng: &mut Rng) {
        let ip = |rng: &mut Rng| IpAddr::V4(Ipv4Addr::new(192, 0, 2, rng.below(250) as u8));
        let count = if rng.chance(2) { 70 } else { rng.below(4) };
        self.endpoints = (0..count).map(|_| SocketAddr::new(ip(rng), 41641)).collect();
        self.hostinfo.net_info = rng.chance(70).then(|| net_info(rng));
        self.source = source(rng);
        if rng.chance(30) {
            self.disco_key = DiscoKey::from_bytes(rng.bytes());
        }
    }

    /// The content of a map request. The hostinfo is sometimes missing.
    pub fn telling(&self, rng: &mut Rng) -> Box<Telling> {
        Box::new(Telling {
            hostinfo: rng.chance(90).then(|| self.hostinfo.clone()),
            endpoints: self.endpoints.clone(),
            disco_key: self.disco_key,
            cap: self.cap,
        })
    }

    /// A registration with the current keys. The hostinfo is sometimes empty.
    pub fn registration(
        &self,
        rng: &mut Rng,
        auth_key: ShownKey,
        expiry: Option<Time>,
        ephemeral: bool,
    ) -> Box<Registration> {
        Box::new(Registration {
            machine_key: self.key,
            cap: self.cap,
            node_key: self.node_key,
            old_node_key: self.old_node_key,
            auth_key,
            expiry,
            hostinfo: if rng.chance(95) { self.hostinfo.clone() } else { Hostinfo::default() },
            ephemeral,
            source: self.source,
        })
    }
}

/// A few addresses, so that several machines share one.
fn source(rng: &mut Rng) -> Option<IpAddr> {
    ["198.51.100.1", "198.51.100.2", "2001:db8::1", "2001:db8::2"]
        .get(rng.below(5) as usize)
        .and_then(|text| text.parse().ok())
}

fn net_info(rng: &mut Rng) -> NetInfo {
    NetInfo { preferred_derp: rng.below(4) as u32, working_udp: Some(rng.chance(80)), ..NetInfo::default() }
}

fn routes(rng: &mut Rng) -> Vec<ipnet::IpNet> {
    ["10.1.0.0/16", "10.2.0.9/24", "0.0.0.0/0", "fd00:1::/64"]
        .iter()
        .filter(|_| rng.chance(40))
        .filter_map(|text| text.parse().ok())
        .collect()
}

fn request_tags(rng: &mut Rng) -> Vec<String> {
    ["tag:web", "tag:db"].iter().filter(|_| rng.chance(20)).map(|tag| (*tag).to_owned()).collect()
}

fn services(rng: &mut Rng) -> Vec<Service> {
    let port = rng.below(60_000) as u16;
    let service = |proto: &str| Service { proto: proto.into(), port, description: String::new() };
    vec![service("peerapi4"), service("tcp")]
}
