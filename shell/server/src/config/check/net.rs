//! The URL, listeners, certificates, proxies and prefixes.

use std::net::IpAddr;
use std::path::Path;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::super::raw::{At, Raw};
use super::super::settings::*;
use super::super::tree::Place;
use super::problem_at;

/// Where the plain listener is unless configured, as in Headscale's example file.
const DEFAULT_LISTEN: &str = "127.0.0.1:8080";

pub(super) fn server_url(raw: &mut Raw) -> ServerUrl {
    let nowhere = ServerUrl { text: String::new(), https: false, host: String::new(), port: 0 };
    let Some(At { value, place }) = raw.text("server_url") else {
        raw.report.problem(
            &Place::Absent,
            "`server_url` is missing: set it to the URL that clients reach, such as `https://headscale.example.com`",
        );
        return nowhere;
    };
    parse_server_url(&value).unwrap_or_else(|why| {
        raw.report.problem(&place, format_args!("`{value}` cannot be the `server_url`: {why}"));
        nowhere
    })
}

fn parse_server_url(text: &str) -> Result<ServerUrl, &'static str> {
    let scheme = "it must start with `http://` or `https://`";
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Err(scheme);
    }
    let url = reqwest::Url::parse(text).map_err(|_| "it is not a URL; write it as `https://name:port`")?;
    if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return Err("it must be a scheme, a host and perhaps a port, nothing else");
    }
    let host = url.host_str().ok_or("the host is missing")?.trim_matches(['[', ']']).trim_end_matches('.');
    let port = url.port_or_known_default().filter(|port| *port != 0).ok_or("the port is missing")?;
    Ok(ServerUrl {
        text: text.trim_end_matches('/').to_owned(),
        https: url.scheme() == "https",
        host: host.to_ascii_lowercase(),
        port,
    })
}

/// An address to listen on; `None` if the key is empty or wrong.
pub(super) fn listen_addr(raw: &mut Raw, key: &str) -> Option<ListenAddr> {
    let At { value, place } = raw.text(key)?;
    parse_listen(&value)
        .map_err(|why| {
            let text = format!(
                "`{value}` cannot be the `{key}`: {why}; write it as `0.0.0.0:8080`, `[::1]:8080` or `:8080`"
            );
            raw.report.problem(&place, text);
        })
        .ok()
}

fn parse_listen(text: &str) -> Result<ListenAddr, &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("the port is missing")?;
    let port = match port {
        "http" => 80,
        "https" => 443,
        digits => digits.parse().map_err(|_| "the port must be a number up to 65535")?,
    };
    let host = match host.strip_prefix('[') {
        Some(inside) => {
            let inside = inside.strip_suffix(']').ok_or("a bracket is missing")?;
            inside.parse::<std::net::Ipv6Addr>().map_err(|_| "the address in brackets is not IPv6")?;
            inside
        }
        None if host.contains(':') => return Err("an IPv6 address needs brackets"),
        None if host.contains(['/', ' ', '*']) => return Err("the host is neither an address nor a name"),
        None => host,
    };
    Ok(ListenAddr { host: host.to_owned(), port })
}

/// Where to listen, and the certificate. Own certificate files make `listen_addr` speak TLS, as in Headscale, unless
/// `tls_listen_addr` gives TLS a place of its own.
pub(super) fn listeners(
    raw: &mut Raw,
    server_url: &ServerUrl,
    relay: bool,
    data_dir: &Path,
    built_in: bool,
) -> (Listeners, Certificate) {
    let listen = listen_addr(raw, "listen_addr").unwrap_or_else(|| {
        parse_listen(DEFAULT_LISTEN).unwrap_or(ListenAddr { host: String::new(), port: 8080 })
    });
    let own_tls = listen_addr(raw, "tls_listen_addr");
    let files = certificate_files(raw);
    let (http, tls) = match (&files, own_tls) {
        (_, Some(tls)) => (Some(listen), Some(tls)),
        (Some(_), None) => {
            if !server_url.https && !server_url.host.is_empty() {
                let place = raw.place("server_url");
                raw.report.warn(
                    &place,
                    "`server_url` says http, but with `tls_cert_path` the `listen_addr` speaks TLS: change it to https, or give TLS a place of its own with `tls_listen_addr`",
                );
            }
            (None, Some(listen))
        }
        (None, None) if relay && !server_url.https => {
            raw.report.warn(
                &raw.place("derp.server.enabled"),
                format_args!("the relay needs TLS and there is no certificate: `{listen}` speaks plain HTTP and also TLS with a self-signed one, which clients accept since version 1.86; behind a proxy that speaks only HTTP, set `tls_listen_addr` and let clients reach it"),
            );
            (Some(listen), None)
        }
        (None, None) => (Some(listen), None),
    };
    if http.is_some() && http == tls {
        problem_at(
            raw,
            "tls_listen_addr",
            "`tls_listen_addr` and `listen_addr` are the same: give one another port",
        );
    }
    let needs_tls_443 = server_url.redials_over_tls()
        && !server_url.host.is_empty()
        && tls.as_ref().is_none_or(|tls| tls.port != 443);
    if needs_tls_443 {
        warn_about_443(raw, server_url);
    }
    let metrics = listen_addr(raw, "metrics_listen_addr");
    let certificate = files.unwrap_or_else(|| Certificate::SelfSigned {
        cert: data_dir.join("tls_selfsigned.crt"),
        key: data_dir.join("tls_selfsigned.key"),
    });
    let http_offers_tls = relay && !server_url.https && http.is_some();
    (Listeners { http, http_offers_tls, tls, metrics, ports_may_move: built_in, needs_tls_443 }, certificate)
}

/// Measured with official clients: after a failed redial they insist on port 443 for good.
fn warn_about_443(raw: &mut Raw, server_url: &ServerUrl) {
    let place = raw.place("server_url");
    raw.report.warn(
        &place,
        format_args!(
            "`{server_url}` is plain http with a name or a public address: after an outage clients come back only through TLS on port 443 of that host. \
             The server listens there too if the system permits; otherwise use an https URL or a private address"
        ),
    );
}

fn certificate_files(raw: &mut Raw) -> Option<Certificate> {
    match (raw.path("tls_cert_path"), raw.path("tls_key_path")) {
        (Some(cert), Some(key)) => Some(Certificate::Files { cert, key }),
        (None, None) => None,
        (cert, _) => {
            let (there, missing) = if cert.is_some() {
                ("tls_cert_path", "tls_key_path")
            } else {
                ("tls_key_path", "tls_cert_path")
            };
            problem_at(raw, there, format_args!("`{there}` is set without `{missing}`: set both or none"));
            None
        }
    }
}

pub(super) fn trusted_proxies(raw: &mut Raw) {
    for At { value, place } in raw.list("trusted_proxies") {
        let net = value.parse::<IpNet>().or_else(|_| value.parse::<IpAddr>().map(IpNet::from));
        match net {
            Ok(net) if net.prefix_len() == 0 => raw.report.problem(
                &place,
                format_args!(
                    "`{value}` would trust everybody: name the addresses of your proxies in `trusted_proxies`"
                ),
            ),
            Ok(_) => {}
            Err(_) => raw.report.problem(
                &place,
                format_args!(
                    "`{value}` in `trusted_proxies` is neither an address nor a network such as `10.0.0.0/8`"
                ),
            ),
        }
    }
}

pub(super) fn prefixes(raw: &mut Raw) -> Prefixes {
    let v4: Option<Ipv4Net> = prefix(raw, "prefixes.v4", "100.64.0.0/10").map(|net: Ipv4Net| net.trunc());
    let v6: Option<Ipv6Net> =
        prefix(raw, "prefixes.v6", "fd7a:115c:a1e0::/48").map(|net: Ipv6Net| net.trunc());
    let unset = raw.text("prefixes.v4").is_none() && raw.text("prefixes.v6").is_none();
    if unset {
        raw.report.problem(
            &Place::Absent,
            "`prefixes.v4` and `prefixes.v6` are missing: set at least one, usually `100.64.0.0/10` and `fd7a:115c:a1e0::/48`",
        );
    }
    warn_outside(raw, "prefixes.v4", v4.map(IpNet::from), "100.64.0.0/10");
    warn_outside(raw, "prefixes.v6", v6.map(IpNet::from), "fd7a:115c:a1e0::/48");
    let allocation = match raw.text("prefixes.allocation") {
        None => Allocation::Sequential,
        Some(At { value, .. }) if value == "sequential" => Allocation::Sequential,
        Some(At { value, .. }) if value == "random" => Allocation::Random,
        Some(At { value, place }) => {
            raw.report.problem(
                &place,
                format_args!("`prefixes.allocation` must be `sequential` or `random`, not `{value}`"),
            );
            Allocation::Sequential
        }
    };
    Prefixes { v4, v6, allocation }
}

fn prefix<T: std::str::FromStr>(raw: &mut Raw, key: &str, example: &str) -> Option<T> {
    let At { value, place } = raw.text(key)?;
    value
        .parse()
        .map_err(|_| {
            let text = format!("`{value}` cannot be the `{key}`: write it as `{example}`");
            raw.report.problem(&place, text);
        })
        .ok()
}

/// Clients route only the two ranges of Tailscale by themselves.
fn warn_outside(raw: &mut Raw, key: &str, net: Option<IpNet>, usual: &str) {
    let Ok(range) = usual.parse::<IpNet>() else { return };
    if let Some(net) = net
        && !range.contains(&net)
    {
        let place = raw.place(key);
        raw.report.warn(
            &place,
            format_args!(
                "`{net}` is outside `{usual}`: clients do not support that, expect broken routes and DNS"
            ),
        );
    }
}
