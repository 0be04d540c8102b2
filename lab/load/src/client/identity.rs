//! The keys of a node, and the bodies of its requests. They are as long and as varied as those of real clients, because their
//! size affects the measurements.

use std::net::Ipv4Addr;

use aws_lc_rs::rand;
use bytes::Bytes;
use headsail_wire::keys::{DiscoKey, NodeKey, hex};
use serde_json::{Value, json};

use crate::Result;

/// The capability version that the nodes claim: that of client 1.98.
pub const CAPABILITY: u16 = 138;

/// A node that may or may not have registered yet.
pub struct Identity {
    /// Its place in the fleet.
    pub index: usize,
    /// The private key of its Noise connections.
    pub machine_secret: [u8; 32],
    /// Random bytes rather than a point of the curve, because nothing here computes with it.
    pub node_key: NodeKey,
    disco_key: DiscoKey,
    log_id: String,
}

/// An endpoint that marks update `number`: an address from a documentation range that no other node has.
pub fn probe_endpoint(number: u16) -> String {
    format!("198.51.100.7:{number}")
}

impl Identity {
    ///
    /// # Errors
    /// The system provides no random bytes.
    pub fn new(index: usize) -> Result<Identity> {
        let random = || -> Result<[u8; 32]> {
            let mut bytes = [0; 32];
            rand::fill(&mut bytes).map_err(|_| "the system gives no randomness")?;
            Ok(bytes)
        };
        Ok(Identity {
            index,
            machine_secret: random()?,
            node_key: NodeKey::from_bytes(random()?),
            disco_key: DiscoKey::from_bytes(random()?),
            log_id: hex(&random()?),
        })
    }

    /// The body of a registration with an auth key.
    pub fn register_body(&self, auth_key: &str) -> Bytes {
        body(json!({
            "Version": CAPABILITY,
            "NodeKey": self.node_key.to_string(),
            "OldNodeKey": NodeKey::default().to_string(),
            "NLKey": format!("nlpub:{}", "0".repeat(64)),
            "Auth": { "AuthKey": auth_key },
            "Expiry": "0001-01-01T00:00:00Z",
            "Followup": "",
            "Hostinfo": self.hostinfo(),
        }))
    }

    /// The body that opens a map stream. With `read_only` it changes nothing on a server that honours it.
    pub fn stream_body(&self, read_only: bool) -> Bytes {
        let mut request = self.map_request(&[]);
        request["Stream"] = true.into();
        request["KeepAlive"] = true.into();
        request["Compress"] = "zstd".into();
        request["ReadOnly"] = read_only.into();
        body(request)
    }

    /// The body of a lite update with the usual endpoints and one more.
    pub fn lite_body(&self, further: &str) -> Bytes {
        let mut request = self.map_request(&[further]);
        request["OmitPeers"] = true.into();
        body(request)
    }

    fn map_request(&self, further: &[&str]) -> Value {
        let mut endpoints = self.endpoints();
        endpoints.extend(further.iter().map(|e| (*e).to_owned()));
        let types = vec![1; endpoints.len()];
        json!({
            "Version": CAPABILITY,
            "NodeKey": self.node_key.to_string(),
            "DiscoKey": self.disco_key.to_string(),
            "Hostinfo": self.hostinfo(),
            "Endpoints": endpoints,
            "EndpointTypes": types,
        })
    }

    /// A public IPv4 address, a private one and an IPv6 address.
    fn endpoints(&self) -> Vec<String> {
        let n = u32::try_from(self.index).unwrap_or(u32::MAX);
        let (public, private) =
            (Ipv4Addr::from(0xcb00_7100 | (n % 250)), Ipv4Addr::from(0x0a00_0000 | (n & 0xffff)));
        let port = 20_000 + n % 40_000;
        vec![
            format!("{public}:{port}"),
            format!("{private}:41641"),
            format!("[2001:db8::{:x}]:41641", n & 0xffff),
        ]
    }

    fn hostinfo(&self) -> Value {
        let latency = 0.001 + f64::from(u32::try_from(self.index % 97).unwrap_or(0)) / 10_000.0;
        json!({
            "IPNVersion": "1.98.10-t0123456789-g0123456789",
            "BackendLogID": self.log_id,
            "OS": "linux",
            "OSVersion": "6.12.41+deb13-amd64",
            "Container": false,
            "Distro": "debian",
            "DistroVersion": "13.1",
            "DistroCodeName": "trixie",
            "Desktop": false,
            "Hostname": format!("load-{:05}", self.index),
            "Machine": "x86_64",
            "GoArch": "amd64",
            "GoArchVar": "v1",
            "GoVersion": "go1.26.3",
            "Services": [
                { "Proto": "peerapi4", "Port": 40_000 + self.index % 20_000 },
                { "Proto": "peerapi6", "Port": 40_001 + self.index % 20_000 },
                { "Proto": "peerapi-dns-proxy", "Port": 1 },
            ],
            "NetInfo": {
                "MappingVariesByDestIP": false,
                "WorkingIPv6": true,
                "OSHasIPv6": true,
                "WorkingUDP": true,
                "WorkingICMPv4": false,
                "UPnP": false,
                "PMP": false,
                "PCP": false,
                "PreferredDERP": 999,
                "DERPLatency": { "999-v4": latency, "999-v6": latency * 1.1 },
                "FirewallMode": "nft-default",
            },
            "Userspace": false,
            "UserspaceRouter": false,
            "AppConnector": false,
            "ServicesHash": "",
        })
    }
}

fn body(value: Value) -> Bytes {
    value.to_string().into()
}
