//! Addresses, prefixes and ranges, and those with a special meaning.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A prefix or a range of addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Net {
    /// A prefix; a single address is a prefix of full length.
    Prefix(IpNet),
    /// First and last address, both of the same family.
    Range(IpAddr, IpAddr),
}

/// What `*` stands for as a source: the addresses that nodes can have (100.64.0.0/10 without the slice that ChromeOS uses
/// for itself, and the ULA of Tailscale addresses).
pub(crate) const ANY_SOURCE: [&str; 3] =
    ["100.64.0.0-100.115.91.255", "100.115.94.0-100.127.255.255", "fd7a:115c:a1e0::/48"];

/// What `autogroup:internet` stands for as a destination: every address that is not private, shared, or link-local.
pub(crate) const INTERNET: [&str; 7] = [
    "0.0.0.0-9.255.255.255",
    "11.0.0.0-100.63.255.255",
    "100.128.0.0-169.253.255.255",
    "169.255.0.0-172.15.255.255",
    "172.32.0.0-192.167.255.255",
    "192.169.0.0-255.255.255.255",
    "2000::-3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
];

impl Net {
    /// Reads an address, a prefix, or a range `a-b`. Host bits of a prefix are cleared.
    pub fn parse(text: &str) -> Option<Net> {
        if let Some((a, b)) = text.split_once('-') {
            let (a, b) = (a.trim().parse::<IpAddr>().ok()?, b.trim().parse::<IpAddr>().ok()?);
            return (a.is_ipv4() == b.is_ipv4() && a <= b).then_some(Net::Range(a, b));
        }
        if text.contains('/') {
            return text.parse::<IpNet>().ok().map(|n| Net::Prefix(n.trunc()));
        }
        text.parse::<IpAddr>().ok().map(|a| Net::Prefix(a.into()))
    }

    /// The single address, if it is one.
    pub fn single(&self) -> Option<IpAddr> {
        match self {
            Net::Prefix(p) if p.prefix_len() == p.max_prefix_len() => Some(p.addr()),
            Net::Range(a, b) if a == b => Some(*a),
            _ => None,
        }
    }

    /// First and last address.
    pub fn bounds(&self) -> (IpAddr, IpAddr) {
        match self {
            Net::Prefix(p) => (p.network(), p.broadcast()),
            Net::Range(a, b) => (*a, *b),
        }
    }

    /// Whether the address is in it.
    pub fn contains(&self, addr: IpAddr) -> bool {
        let (a, b) = self.bounds();
        a.is_ipv4() == addr.is_ipv4() && a <= addr && addr <= b
    }

    /// Whether it contains all of another.
    pub fn covers(&self, other: &Net) -> bool {
        let ((a, b), (c, d)) = (self.bounds(), other.bounds());
        a.is_ipv4() == c.is_ipv4() && a <= c && d <= b
    }

    /// Whether the two share an address.
    pub fn overlaps(&self, other: &Net) -> bool {
        let ((a, b), (c, d)) = (self.bounds(), other.bounds());
        a.is_ipv4() == c.is_ipv4() && a <= d && c <= b
    }

    /// Whether it is all of IPv4 or all of IPv6.
    pub fn is_everything(&self) -> bool {
        matches!(self, Net::Prefix(p) if p.prefix_len() == 0)
    }
}

impl From<IpAddr> for Net {
    fn from(a: IpAddr) -> Net {
        Net::Prefix(a.into())
    }
}

impl From<IpNet> for Net {
    fn from(p: IpNet) -> Net {
        Net::Prefix(p)
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.single()) {
            (_, Some(a)) => a.fmt(f),
            (Net::Prefix(p), _) => p.fmt(f),
            (Net::Range(a, b), _) => write!(f, "{a}-{b}"),
        }
    }
}

/// The two routes of an exit node.
pub const EXIT_ROUTES: [IpNet; 2] = [IpNet::V4(V4_ALL), IpNet::V6(V6_ALL)];
const V4_ALL: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0);
const V6_ALL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0);

/// Whether a route is one of the two of an exit node.
pub fn is_exit_route(route: &IpNet) -> bool {
    route.prefix_len() == 0
}

/// Whether a route contains public addresses, so that `autogroup:internet` matches it.
pub(crate) fn reaches_internet(route: &IpNet) -> bool {
    INTERNET.iter().filter_map(|t| Net::parse(t)).any(|n| n.overlaps(&Net::Prefix(*route)))
}

/// The range for IPv4 addresses of nodes.
const POOL: &str = "100.64.0.0/10";

/// Prefixes in [`POOL`] that the official service reserves; an `ipPool` may not overlap them.
const RESERVED: [&str; 3] = ["100.100.0.0/24", "100.100.100.0/24", "100.115.92.0/23"];

/// Reads a prefix of an `ipPool`, or returns what is wrong with it.
pub(crate) fn parse_pool(text: &str) -> Result<IpNet, String> {
    let pool = text.parse::<IpNet>().map_err(|_| "invalid prefix")?.trunc();
    if POOL.parse().is_ok_and(|all: IpNet| !all.contains(&pool)) {
        return Err(format!("network must be within {POOL}"));
    }
    let touches = |t: &&str| Net::parse(t).is_some_and(|n| n.overlaps(&Net::Prefix(pool)));
    if RESERVED.iter().any(touches) {
        return Err("network within reserved range".into());
    }
    Ok(pool)
}
