//! The DERP region of the embedded relay.

use headsail_wire::derp_map::{DerpNode, DerpRegion};

use crate::config::{Config, DerpServer};

/// Where clients reach the embedded relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayAddress {
    /// Name or IP address; IPv6 without brackets.
    pub host: String,
    /// TCP port, TLS.
    pub derp_port: u16,
    /// UDP port.
    pub stun_port: u16,
    /// The pin of our self-signed certificate: what clients accept in place of a certificate chain.
    pub pin: Option<String>,
}

impl RelayAddress {
    /// The address that follows from the configuration and the ports that were actually bound.
    ///
    /// With an https `server_url`, clients reach the relay at that URL, possibly through a proxy with a certificate of
    /// its own: the pin then applies only if the URL's port is that of our TLS listener. With an http URL, they reach
    /// it on our TLS listener if there is one, and otherwise on the port of the URL, whose listener accepts TLS as
    /// well.
    pub fn of(settings: &Config, tls_port: Option<u16>, stun_port: u16, pin: Option<String>) -> RelayAddress {
        let url = &settings.server_url;
        let derp_port = if url.https { url.port } else { tls_port.unwrap_or(url.port) };
        let ours = !url.https || tls_port == Some(derp_port);
        RelayAddress { host: url.host.clone(), derp_port, stun_port, pin: pin.filter(|_| ours) }
    }
}

/// The region of the embedded relay.
///
/// A host that is an IP address also becomes the `IPv4` or `IPv6` of the relay, which saves clients the DNS query;
/// configured addresses override it.
pub fn embedded_region(server: &DerpServer, relay: &RelayAddress) -> DerpRegion {
    let host_v4 = relay.host.parse().ok();
    let host_v6 = relay.host.parse().ok();
    let shown = |ip: Option<String>| ip.unwrap_or_default();
    let node = DerpNode {
        name: format!("{}a", server.region_id),
        region_id: server.region_id,
        host_name: relay.host.clone(),
        cert_name: relay.pin.clone().unwrap_or_default(),
        ipv4: shown(server.ipv4.or(host_v4).map(|ip: std::net::Ipv4Addr| ip.to_string())),
        ipv6: shown(server.ipv6.or(host_v6).map(|ip: std::net::Ipv6Addr| ip.to_string())),
        stun_port: i32::from(relay.stun_port),
        derp_port: i32::from(relay.derp_port),
        ..DerpNode::default()
    };
    DerpRegion {
        region_id: server.region_id,
        region_code: server.region_code.clone(),
        region_name: server.region_name.clone(),
        nodes: vec![node],
        ..DerpRegion::default()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Env;

    fn settings(url: &str) -> Config {
        let env = Env::from([("HEADSAIL_SERVER_URL".to_owned(), url.to_owned())]);
        Config::embedded(Path::new("/srv/hs"), &env).unwrap_or_else(|error| panic!("{error}"))
    }

    fn region(url: &str, tls_port: Option<u16>) -> serde_json::Value {
        let settings = settings(url);
        let relay = RelayAddress::of(&settings, tls_port, 3478, Some("sha256-raw:ab".into()));
        serde_json::to_value(embedded_region(&settings.derp.server.unwrap(), &relay)).unwrap()
    }

    #[test]
    fn with_a_plain_http_url_the_relay_is_on_our_tls_port_with_its_pin() {
        let expected = serde_json::json!({
            "RegionID": 999, "RegionCode": "headsail", "RegionName": "Headsail",
            "Nodes": [{"Name": "999a", "RegionID": 999, "HostName": "192.168.1.5", "CertName": "sha256-raw:ab",
                "IPv4": "192.168.1.5", "STUNPort": 3478, "DERPPort": 8444}],
        });
        assert_eq!(region("http://192.168.1.5:8080", Some(8444)), expected);
        let node = &region("http://[fd00::5]:8080", Some(8443))["Nodes"][0];
        assert_eq!((&node["HostName"], &node["IPv6"]), (&"fd00::5".into(), &"fd00::5".into()));
        assert_eq!(node.get("IPv4"), None);
    }

    #[test]
    fn without_a_tls_listener_the_relay_is_on_the_port_of_the_plain_http_url() {
        let node = &region("http://192.168.1.5:8080", None)["Nodes"][0];
        assert_eq!((&node["DERPPort"], &node["CertName"]), (&8080.into(), &"sha256-raw:ab".into()));
    }

    #[test]
    fn with_an_https_url_the_relay_is_on_its_port_and_pinned_only_if_that_is_our_listener() {
        let node = &region("https://hs.example.com", Some(8443))["Nodes"][0];
        assert_eq!((&node["HostName"], &node["DERPPort"]), (&"hs.example.com".into(), &443.into()));
        assert_eq!((node.get("CertName"), node.get("IPv4")), (None, None));
        let node = &region("https://hs.example.com:8443", Some(8443))["Nodes"][0];
        assert_eq!(node["CertName"], "sha256-raw:ab");
        assert_eq!(region("https://hs.example.com", None)["Nodes"][0]["DERPPort"], 443);
    }

    #[test]
    fn configured_addresses_override_the_host() {
        let mut server = settings("http://10.0.0.1").derp.server.unwrap();
        server.ipv4 = "198.51.100.7".parse().ok();
        server.ipv6 = "2001:db8::7".parse().ok();
        let relay = RelayAddress { host: "10.0.0.1".into(), derp_port: 1, stun_port: 2, pin: None };
        let node = &embedded_region(&server, &relay).nodes[0];
        assert_eq!((node.ipv4.as_str(), node.ipv6.as_str()), ("198.51.100.7", "2001:db8::7"));
    }
}
