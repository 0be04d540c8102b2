//! Ports, protocols and Go durations. Errors are in the words of the official service.

use std::str::FromStr;

use headsail_wire::filter::PortRange;

use crate::text::document::IpSpec;
use crate::text::quote::go_quote;

/// Every port.
pub(crate) const ALL_PORTS: PortRange = PortRange { first: 0, last: 65535 };

/// Splits `target:ports` at the last colon. Without a colon, all of it is ports.
pub(crate) fn split_port(text: &str) -> (&str, &str) {
    let text = text.trim();
    let (target, ports) = text.rsplit_once(':').unwrap_or(("", text));
    (target.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(target), ports)
}

/// Reads the ports of an ACL's destination: `22,80-443` or `*`.
pub(crate) fn parse_ports(text: &str) -> Result<Vec<PortRange>, String> {
    match text.trim() {
        "" => Err("invalid port list: \"\"".into()),
        list => list.split(',').map(|p| parse_range(p.trim())).collect(),
    }
}

/// Reads a port, a range or `*`, as `ParseHostPortRange` (`tailcfg/proto_port_range.go`) does.
fn parse_range(text: &str) -> Result<PortRange, String> {
    if text == "*" {
        return Ok(ALL_PORTS);
    }
    let bad = |what: &str| format!("port range {}: {what}", go_quote(text));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    if last.contains('-') {
        return Err(bad("too many dashes(-)"));
    }
    let first = number(first).ok_or_else(|| bad("invalid first integer"))?;
    let last = number(last).ok_or_else(|| bad("invalid last integer"))?;
    match first {
        0 => Err(bad("first port must be >0, or use '*' for wildcard")),
        _ if first > last => Err(bad("first port must be >= last port")),
        _ => Ok(PortRange { first, last }),
    }
}

/// Reads a number as Go's `ParseUint` does: digits only, as many as there are.
fn number<N: FromStr>(text: &str) -> Option<N> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Reads an entry of a grant's `ip` as `parseProtoPortRange` (`tailcfg/proto_port_range.go`) does: `*`, ports, or a
/// protocol and ports.
pub(crate) fn parse_ip_spec(text: &str) -> Result<IpSpec, String> {
    if text.is_empty() {
        return Err("empty string".into());
    }
    let text = text.to_lowercase();
    let (protocol, ports) = text.rsplit_once(':').unwrap_or(("*", &text));
    if protocol.contains(',') {
        return Err("host cannot contain a comma (\",\")".into());
    }
    if ports.is_empty() {
        return Err("invalid port list: \"\"".into());
    }
    let ports = vec![parse_range(ports)?];
    match protocol {
        "" => Err("empty protocol".into()),
        "*" => Ok(IpSpec { protocol: None, ports }),
        name => Ok(IpSpec { protocol: parse_protocol(name)?, ports }),
    }
}

/// Formats ports as they are read.
pub(crate) fn format_ports(ports: &[PortRange]) -> String {
    let one = |p: &PortRange| match p {
        p if *p == ALL_PORTS => "*".to_string(),
        p if p.first == p.last => p.first.to_string(),
        p => format!("{}-{}", p.first, p.last),
    };
    ports.iter().map(one).collect::<Vec<_>>().join(",")
}

/// Names of protocols (`types/ipproto`). The first name of a number is the one written.
const PROTOCOLS: [(&str, u8); 17] = [
    ("icmp", 1),
    ("icmpv4", 1),
    ("igmp", 2),
    ("ipv4", 4),
    ("ip-in-ip", 4),
    ("tcp", 6),
    ("egp", 8),
    ("igp", 9),
    ("udp", 17),
    ("dccp", 33),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ipv6-icmp", 58),
    ("icmpv6", 58),
    ("tsmp", 99),
    ("sctp", 132),
];

/// The number of a protocol, by name or number; `Ok(None)`, the default protocols, for "" and 0.
pub(crate) fn parse_protocol(text: &str) -> Result<Option<u8>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let named = || PROTOCOLS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, n)| *n);
    let unknown = || format!("proto name {} not known; use protocol number 0-255", go_quote(text));
    let found = number(text).or_else(named).ok_or_else(unknown)?;
    Ok(Some(found).filter(|n| *n != 0))
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
    let bad = || format!("time: invalid duration {}", go_quote(text));
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
            "" => return Err(format!("time: missing unit in duration {}", go_quote(text))),
            other => {
                let (unit, text) = (go_quote(other), go_quote(text));
                return Err(format!("time: unknown unit {unit} in duration {text}"));
            }
        };
        total += (value * scale as f64) as i128;
        rest = next;
    }
    let total = i64::try_from(total).map_err(|_| bad())?;
    Ok(if negative { -total } else { total })
}

/// Formats a duration as Go does: `1h0m0s`, `1.5s`, `-1m0s`.
pub(crate) fn format_duration(ns: i64) -> String {
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

#[cfg(test)]
mod tests {
    use super::{parse_ip_spec, parse_protocol};

    #[test]
    fn the_ip_field_of_a_grant_is_read_as_the_client_reads_it() {
        let range = |text: &str, e: &str| format!("port range {text:?}: {e}");
        let refused = [
            ("", "empty string".to_string()),
            (":22", "empty protocol".into()),
            ("tcp:", "invalid port list: \"\"".into()),
            ("a,b:22", "host cannot contain a comma (\",\")".into()),
            ("Foo:22", "proto name \"foo\" not known; use protocol number 0-255".into()),
            ("256:22", "proto name \"256\" not known; use protocol number 0-255".into()),
            ("+6:22", "proto name \"+6\" not known; use protocol number 0-255".into()),
            (" tcp:22", "proto name \" tcp\" not known; use protocol number 0-255".into()),
            ("22,80", range("22,80", "invalid first integer")),
            ("tcp:22,80", range("22,80", "invalid first integer")),
            ("22-80,443", range("22-80,443", "invalid last integer")),
            (" 22", range(" 22", "invalid first integer")),
            ("icmp", range("icmp", "invalid first integer")),
            ("TCP:SSH", range("ssh", "invalid first integer")),
            ("22-", range("22-", "invalid last integer")),
            ("-22", range("-22", "invalid first integer")),
            ("1-2-3", range("1-2-3", "too many dashes(-)")),
            ("0", range("0", "first port must be >0, or use '*' for wildcard")),
            ("100-80", range("100-80", "first port must be >= last port")),
            ("65536", range("65536", "invalid first integer")),
        ];
        for (text, error) in refused {
            assert_eq!(parse_ip_spec(text), Err(error), "{text:?}");
        }
        let accepted = [
            ("*", None, 0, 65535),
            ("*:*", None, 0, 65535),
            ("*:22", None, 22, 22),
            ("0080-0443", None, 80, 443),
            ("0:22", None, 22, 22),
            ("006:22", Some(6), 22, 22),
            ("TCP:22", Some(6), 22, 22),
            ("icmpv4:*", Some(1), 0, 65535),
            ("dccp:1", Some(33), 1, 1),
            ("tsmp:*", Some(99), 0, 65535),
            ("ip-in-ip:*", Some(4), 0, 65535),
        ];
        for (text, protocol, first, last) in accepted {
            let spec = parse_ip_spec(text).expect(text);
            let ports: Vec<_> = spec.ports.iter().map(|p| (p.first, p.last)).collect();
            assert_eq!((spec.protocol, ports), (protocol, vec![(first, last)]), "{text:?}");
        }
    }

    #[test]
    fn acls_name_protocols_as_grants_do() {
        assert_eq!(parse_protocol(""), Ok(None));
        assert_eq!(parse_protocol("006"), Ok(Some(6)));
        assert_eq!(parse_protocol("ICMPv6"), Ok(Some(58)));
        let unknown = "proto name \"fc\" not known; use protocol number 0-255";
        assert_eq!(parse_protocol("fc"), Err(unknown.into()));
    }
}
