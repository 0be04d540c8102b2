//! DNS settings that differ by node: NextDNS identifies devices by parameters in the resolver's URL.
//!
//! In the policy, the attribute `nextdns:<profile>` selects a different profile for a node, and `nextdns:no-device-info`
//! keeps information about the device out of the URL.

use std::net::IpAddr;

use headsail_wire::dns::{DnsConfig, Resolver};
use headsail_wire::filter::CapMap;

/// The start of all URLs of NextDNS.
const NEXT_DNS: &str = "https://dns.nextdns.io";
const ATTRIBUTE: &str = "nextdns:";
const NO_DEVICE_INFO: &str = "nextdns:no-device-info";

/// The information about a device that NextDNS receives.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    /// The host name.
    pub name: &'a str,
    /// The operating system, which is sent as the device's model.
    pub os: &'a str,
    /// The node's first address in the tailnet.
    pub ip: Option<IpAddr>,
}

/// Whether [`for_node`] can change anything. If not, all nodes share the same settings.
pub fn differs_by_node(config: &DnsConfig) -> bool {
    let all =
        config.resolvers.iter().chain(&config.fallback_resolvers).chain(config.routes.values().flatten());
    all.into_iter().any(|resolver| resolver.addr.starts_with(NEXT_DNS))
}

/// The settings of one node. URLs of NextDNS get the node's profile and the address, model and name of its device.
pub fn for_node(config: &DnsConfig, device: Device<'_>, caps: &CapMap) -> DnsConfig {
    let profile =
        caps.keys().filter(|cap| *cap != NO_DEVICE_INFO).find_map(|cap| cap.strip_prefix(ATTRIBUTE));
    let mut config = config.clone();
    let lists = [&mut config.resolvers, &mut config.fallback_resolvers];
    for resolver in lists.into_iter().chain(config.routes.values_mut()).flatten() {
        if resolver.addr.starts_with(NEXT_DNS) {
            rewrite(resolver, profile, (!caps.contains_key(NO_DEVICE_INFO)).then_some(device));
        }
    }
    config
}

fn rewrite(resolver: &mut Resolver, profile: Option<&str>, device: Option<Device<'_>>) {
    if let Some(profile) = profile {
        resolver.addr = format!("{NEXT_DNS}/{}", escape(profile));
    }
    let Some(device) = device else { return };
    let ip = device.ip.map(|ip| ("device_ip", ip.to_string()));
    let pairs = ip
        .into_iter()
        .chain([("device_model", device.os.to_owned()), ("device_name", device.name.to_owned())]);
    for (name, value) in pairs {
        resolver.addr.push(if resolver.addr.contains('?') { '&' } else { '?' });
        resolver.addr.push_str(&format!("{name}={}", escape(&value)));
    }
}

/// Percent-encodes a query value the way HTML forms do.
fn escape(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, b| {
        match b {
            b' ' => out.push('+'),
            b if b.is_ascii_alphanumeric() || b"-._*".contains(&b) => out.push(b as char),
            b => out.push_str(&format!("%{b:02X}")),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> DnsConfig {
        let resolver = |addr: &str| Resolver { addr: addr.into(), ..Resolver::default() };
        DnsConfig {
            resolvers: vec![resolver("https://dns.nextdns.io/abc"), resolver("1.1.1.1")],
            ..DnsConfig::default()
        }
    }

    #[test]
    fn only_nextdns_resolvers_get_information_about_the_device() {
        let device = Device { name: "Ann's laptop", os: "linux", ip: "100.64.0.1".parse().ok() };
        assert!(differs_by_node(&shared()) && !differs_by_node(&DnsConfig::default()));
        let own = for_node(&shared(), device, &CapMap::new());
        let url =
            "https://dns.nextdns.io/abc?device_ip=100.64.0.1&device_model=linux&device_name=Ann%27s+laptop";
        assert_eq!(own.resolvers[0].addr, url);
        assert_eq!(own.resolvers[1].addr, "1.1.1.1");
    }

    #[test]
    fn the_policy_selects_the_profile_and_hides_the_device() {
        let device = Device { name: "x", os: "linux", ip: None };
        let caps = CapMap::from([("nextdns:def".into(), vec![]), (NO_DEVICE_INFO.into(), vec![])]);
        assert_eq!(for_node(&shared(), device, &caps).resolvers[0].addr, "https://dns.nextdns.io/def");
    }
}
