//! The addresses of this machine, and which of them official clients treat as private.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Whether official clients use plain HTTP with this address without falling back to TLS on port 443: loopback, 10/8,
/// 172.16/12, 192.168/16 and fc00::/7.
pub fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local(),
    }
}

/// The addresses at which machines on the local network can reach this one over plain HTTP, most likely first: those of
/// the default route, then IPv4, then IPv6, then those of bridges and tunnels. `127.0.0.1` if there are none.
pub fn private_addresses() -> Vec<IpAddr> {
    let mut found: Vec<(bool, bool, IpAddr)> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .filter(|interface| !interface.is_loopback() && is_private(interface.ip()))
        .map(|interface| (is_virtual(&interface.name), interface.ip().is_ipv6(), interface.ip()))
        .collect();
    let default_route = default_route_sources();
    found.sort_by_key(|&(is_virtual, v6, ip)| (!default_route.contains(&ip), is_virtual, v6));
    let mut addresses: Vec<IpAddr> = found.into_iter().map(|(.., ip)| ip).collect();
    addresses.dedup();
    if addresses.is_empty() {
        addresses.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    addresses
}

/// Whether an interface belongs to containers, virtual machines or another VPN, judging by its name.
fn is_virtual(name: &str) -> bool {
    const PREFIXES: &[&str] = &[
        "docker",
        "br-",
        "veth",
        "virbr",
        "vmnet",
        "cni",
        "flannel",
        "podman",
        "lxc",
        "tailscale",
        "wg",
        "tun",
        "zt",
    ];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The source addresses of the default routes. Connecting a UDP socket sends no packet.
fn default_route_sources() -> Vec<IpAddr> {
    // Documentation addresses (RFC 5737, RFC 3849), which the default route covers.
    let targets: [(IpAddr, IpAddr); 2] = [
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(198, 51, 100, 1).into()),
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    ];
    let source = |(from, to): (IpAddr, IpAddr)| {
        let socket = UdpSocket::bind(SocketAddr::new(from, 0)).ok()?;
        socket.connect(SocketAddr::new(to, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    targets.into_iter().filter_map(source).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_those_that_clients_treat_as_private() {
        for (ip, private) in [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("172.32.0.1", false),
            ("192.168.7.7", true),
            ("100.64.0.1", false),
            ("203.0.113.7", false),
            ("169.254.1.1", false),
            ("::1", true),
            ("fd00::1", true),
            ("fe80::1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_private(ip.parse().unwrap()), private, "{ip}");
        }
    }

    #[test]
    fn there_is_at_least_one_address_and_all_are_private() {
        let addresses = private_addresses();
        assert!(!addresses.is_empty());
        assert!(addresses.iter().all(|ip| is_private(*ip)));
    }
}
