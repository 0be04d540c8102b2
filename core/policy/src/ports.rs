//! Ports, protocols and Go durations, with the words of the official service for what it refuses.

use headsail_wire::filter::PortRange;

/// Every port.
pub(crate) const ALL_PORTS: PortRange = PortRange { first: 0, last: 65535 };

/// Reads `22,80-443` or `*`.
pub(crate) fn parse_ports(text: &str) -> Result<Vec<PortRange>, String> {
    text.split(',').map(parse_range).collect()
}

fn parse_range(text: &str) -> Result<PortRange, String> {
    let text = text.trim();
    if text == "*" {
        return Ok(ALL_PORTS);
    }
    let number = |s: &str| if s.starts_with('+') { None } else { s.parse::<u16>().ok() };
    let (first, last) = text.split_once('-').map_or((text, None), |(a, b)| (a, Some(b)));
    let first = number(first).ok_or_else(|| format!("port range {text:?}: invalid first integer"))?;
    if first == 0 {
        return Err(format!("port range {text:?}: first port must be >0, or use '*' for wildcard"));
    }
    let last = match last {
        None => first,
        Some(l) => number(l).ok_or_else(|| format!("port range {text:?}: invalid last integer"))?,
    };
    if last < first {
        return Err(format!("port range {text:?}: first port must be less than or equal to the last port"));
    }
    Ok(PortRange { first, last })
}

/// Prints ports as they are read.
pub(crate) fn print_ports(ports: &[PortRange]) -> String {
    let one = |p: &PortRange| match p {
        p if *p == ALL_PORTS => "*".to_string(),
        p if p.first == p.last => p.first.to_string(),
        p => format!("{}-{}", p.first, p.last),
    };
    ports.iter().map(one).collect::<Vec<_>>().join(",")
}

const PROTOCOLS: [(&str, u8); 15] = [
    ("icmp", 1),
    ("igmp", 2),
    ("ipv4", 4),
    ("ip-in-ip", 4),
    ("tcp", 6),
    ("egp", 8),
    ("igp", 9),
    ("udp", 17),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ipv6-icmp", 58),
    ("icmpv6", 58),
    ("sctp", 132),
    ("fc", 133),
];

/// The number of a protocol given by name or number; `Ok(None)` for "" (the default protocols).
pub(crate) fn parse_protocol(text: &str) -> Result<Option<u8>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if let Some((_, n)) = PROTOCOLS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
        return Ok(Some(*n));
    }
    let plain = !text.starts_with('+') && (text == "0" || !text.starts_with('0'));
    match text.parse::<u8>() {
        Ok(n) if plain => Ok(Some(n)),
        _ => Err(format!("unknown protocol {text:?}")),
    }
}

/// The name of a protocol, or its number.
pub(crate) fn protocol_name(n: u8) -> String {
    PROTOCOLS.iter().find(|(_, p)| *p == n).map_or_else(|| n.to_string(), |(name, _)| (*name).into())
}

/// Whether a protocol has ports.
pub(crate) fn has_ports(protocol: u8) -> bool {
    matches!(protocol, 6 | 17 | 132)
}

/// Reads a duration as Go's `time.ParseDuration` does; nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    let bad = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(r) => (true, r),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(bad());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let value: f64 = number.parse().map_err(|_| bad())?;
        let unit_len = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_len);
        let scale: i64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            other => return Err(format!("time: unknown unit {other:?} in duration {text:?}")),
        };
        total += (value * scale as f64) as i128;
        rest = next;
    }
    let total = i64::try_from(total).map_err(|_| bad())?;
    Ok(if negative { -total } else { total })
}

/// Prints a duration as Go does: `1h0m0s`, `1.5s`, `-1m0s`.
pub(crate) fn print_duration(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let n = ns.unsigned_abs();
    if n < 1_000_000_000 {
        return match n {
            0 => "0s".into(),
            1..1_000 => format!("{sign}{n}ns"),
            1_000..1_000_000 => format!("{sign}{}µs", n as f64 / 1e3),
            _ => format!("{sign}{}ms", n as f64 / 1e6),
        };
    }
    let (h, m) = (n / 3_600_000_000_000, n / 60_000_000_000 % 60);
    let s = (n % 60_000_000_000) as f64 / 1e9;
    match (h, m) {
        (0, 0) => format!("{sign}{s}s"),
        (0, m) => format!("{sign}{m}m{s}s"),
        (h, m) => format!("{sign}{h}h{m}m{s}s"),
    }
}
