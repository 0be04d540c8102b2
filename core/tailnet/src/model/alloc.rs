//! Address allocation for new nodes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// How many random addresses are tried before the search continues sequentially.
const DRAWS: usize = 64;

/// Whether an address is reserved: clients use 100.100.100.0/24 and fd7a:115c:a1e0::53 for their resolver, and do not
/// accept 100.115.92.0/23, which ChromeOS uses, as addresses of a tailnet (net/tsaddr/tsaddr.go).
fn reserved(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(a) => {
            let [x, y, z, _] = a.octets();
            (x, y, z) == (100, 100, 100) || (x, y) == (100, 115) && (z == 92 || z == 93)
        }
        IpAddr::V6(a) => a == Ipv6Addr::new(0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, 0x53),
    }
}

/// How to search a prefix for a free address.
pub struct Search<'a> {
    /// The search starts after this address if it is in the prefix, otherwise at the beginning.
    pub after: Option<IpAddr>,
    pub taken: &'a dyn Fn(IpAddr) -> bool,
    /// A source of random bits; `None` for sequential allocation.
    pub random: Option<&'a mut dyn FnMut() -> u128>,
}

/// A free IPv4 address in `net`; `None` if there is none left.
pub fn v4(net: Ipv4Net, search: Search<'_>) -> Option<Ipv4Addr> {
    let first = u128::from(net.network().to_bits()) + u128::from(net.prefix_len() < 31);
    let last = u128::from(net.broadcast().to_bits()) - u128::from(net.prefix_len() < 31);
    let back = |n: u128| IpAddr::V4(Ipv4Addr::from_bits(n as u32));
    match find(IpNet::V4(net), first, last, back, search)? {
        IpAddr::V4(a) => Some(a),
        IpAddr::V6(_) => None,
    }
}

/// A free IPv6 address in `net`; `None` if there is none left.
pub fn v6(net: Ipv6Net, search: Search<'_>) -> Option<Ipv6Addr> {
    let first = net.network().to_bits() + u128::from(net.prefix_len() < 127);
    let last = net.broadcast().to_bits();
    match find(IpNet::V6(net), first, last, |n| IpAddr::V6(Ipv6Addr::from_bits(n)), search)? {
        IpAddr::V6(a) => Some(a),
        IpAddr::V4(_) => None,
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(a) => u128::from(a.to_bits()),
        IpAddr::V6(a) => a.to_bits(),
    }
}

fn find(
    net: IpNet,
    first: u128,
    last: u128,
    back: impl Fn(u128) -> IpAddr,
    search: Search<'_>,
) -> Option<IpAddr> {
    if first > last {
        return None;
    }
    let free = |n: u128| {
        let ip = back(n);
        (!reserved(ip) && !(search.taken)(ip)).then_some(ip)
    };
    let mut start = match search.after {
        Some(ip) if net.contains(&ip) => number(ip).saturating_add(1),
        _ => first,
    };
    if let Some(random) = search.random {
        let span = last - first + 1;
        for _ in 0..DRAWS {
            start = first + random() % span;
            if let Some(ip) = free(start) {
                return Some(ip);
            }
        }
    }
    let start = start.clamp(first, last);
    (start..=last).chain(first..start).find_map(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(net: &str, after: Option<&str>, taken: &[&str]) -> Option<Ipv4Addr> {
        let taken: Vec<IpAddr> = taken.iter().map(|t| t.parse().unwrap()).collect();
        let search = Search {
            after: after.map(|a| a.parse().unwrap()),
            taken: &|ip| taken.contains(&ip),
            random: None,
        };
        v4(net.parse().unwrap(), search)
    }

    #[test]
    fn addresses_are_sequential_and_skip_reserved_ones() {
        assert_eq!(next("100.64.0.0/10", None, &[]), Some(Ipv4Addr::new(100, 64, 0, 1)));
        assert_eq!(
            next("100.64.0.0/10", Some("100.64.0.1"), &["100.64.0.2"]),
            Some(Ipv4Addr::new(100, 64, 0, 3))
        );
        assert_eq!(next("100.64.0.0/10", Some("100.100.99.255"), &[]), Some(Ipv4Addr::new(100, 100, 101, 0)));
        assert_eq!(next("100.64.0.0/10", Some("100.115.91.255"), &[]), Some(Ipv4Addr::new(100, 115, 94, 0)));
    }

    #[test]
    fn the_search_wraps_around_and_finds_nothing_in_a_full_prefix() {
        assert_eq!(next("10.0.0.0/30", Some("10.0.0.2"), &["10.0.0.2"]), Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(next("10.0.0.0/30", Some("10.0.0.2"), &["10.0.0.1", "10.0.0.2"]), None);
        assert_eq!(next("10.0.0.5/32", None, &[]), Some(Ipv4Addr::new(10, 0, 0, 5)));
    }
}
