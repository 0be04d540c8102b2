//! `server_url`, listeners, certificates, trusted proxies and prefixes.

use std::net::IpAddr;
use std::path::Path;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::super::raw::{At, Raw};
use super::super::settings::*;
use super::super::tree::Place;

/// The default of `listen_addr`, as in Headscale's example file.
const DEFAULT_LISTEN: &str = "127.0.0.1:8080";

pub(super) fn server_url(raw: &mut Raw) -> ServerUrl {
    let key = "server_url";
    let nowhere = ServerUrl { text: String::new(), https: false, host: String::new(), port: 0 };
    let Some(at) = raw.text(key) else {
        raw.missing(key, "set it to the URL that clients use, such as `https://headscale.example.com`");
        return nowhere;
    };
    parse_server_url(&at.value).unwrap_or_else(|why| {
        raw.invalid(key, &at, why);
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
        return Err("it must consist of a scheme, a host and optionally a port, and nothing else");
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

/// An address to listen on; `None` if the key is unset or invalid.
pub(super) fn listen_addr(raw: &mut Raw, key: &str) -> Option<ListenAddr> {
    let at = raw.text(key)?;
    parse_listen(&at.value)
        .map_err(|why| {
            let advice = "write it as `0.0.0.0:8080`, `[::1]:8080` or `:8080`";
            raw.invalid(key, &at, format_args!("{why}; {advice}"));
        })
        .ok()
}

fn parse_listen(text: &str) -> Result<ListenAddr, &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("the port is missing")?;
    let port = match port {
        "http" => 80,
        "https" => 443,
        digits => digits.parse().map_err(|_| "the port must be a number from 0 to 65535")?,
    };
    let host = match host.strip_prefix('[') {
        Some(inside) => {
            let inside = inside.strip_suffix(']').ok_or("a bracket is missing")?;
            inside.parse::<std::net::Ipv6Addr>().map_err(|_| "the address in brackets is not IPv6")?;
            inside
        }
        None if host.contains(':') => return Err("an IPv6 address must be in brackets"),
        None if host.contains(['/', ' ', '*']) => return Err("the host is neither an address nor a name"),
        None => host,
    };
    Ok(ListenAddr { host: host.to_owned(), port })
}

/// Where to listen, and the certificate. Certificate files make `listen_addr` serve TLS, as in Headscale, unless TLS
/// has its own `tls_listen_addr`.
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
    let tls_listen = listen_addr(raw, "tls_listen_addr");
    let files = certificate_files(raw);
    let (http, tls) = match (&files, tls_listen) {
        (_, Some(tls)) => (Some(listen), Some(tls)),
        (Some(_), None) => {
            if !server_url.https && !server_url.host.is_empty() {
                raw.warn(
                    "server_url",
                    "`server_url` is an http URL, but `listen_addr` serves TLS because `tls_cert_path` is set: change the URL to https, or move TLS to its own `tls_listen_addr`",
                );
            }
            (None, Some(listen))
        }
        (None, None) if relay && !server_url.https => {
            raw.warn(
                "derp.server.enabled",
                format_args!("the relay needs TLS, but no certificate is configured: `{listen}` accepts plain HTTP and also TLS with a self-signed certificate, which clients accept since version 1.86. Behind a proxy that forwards only HTTP, set `tls_listen_addr` and make that port reachable for clients"),
            );
            (Some(listen), None)
        }
        (None, None) => (Some(listen), None),
    };
    if http.is_some() && http == tls {
        raw.problem(
            "tls_listen_addr",
            "`tls_listen_addr` and `listen_addr` are the same: change one of the ports",
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

/// Observed with official clients: once a reconnection has failed, they only ever try port 443.
fn warn_about_443(raw: &mut Raw, server_url: &ServerUrl) {
    raw.warn(
        "server_url",
        format_args!(
            "`{server_url}` is a plain http URL with a name or a public address: after an outage, clients reconnect only through TLS on port 443 of that host. \
             The server also listens there if the system permits; otherwise use an https URL or a private address"
        ),
    );
}

fn certificate_files(raw: &mut Raw) -> Option<Certificate> {
    match (raw.path("tls_cert_path"), raw.path("tls_key_path")) {
        (Some(cert), Some(key)) => Some(Certificate::Files { cert, key }),
        (None, None) => None,
        (cert, _) => {
            let (set, missing) = if cert.is_some() {
                ("tls_cert_path", "tls_key_path")
            } else {
                ("tls_key_path", "tls_cert_path")
            };
            raw.problem(set, format_args!("`{set}` is set without `{missing}`: set both or neither"));
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
                    "`{value}` in `trusted_proxies` would trust every client: list the addresses of your proxies"
                ),
            ),
            Ok(_) => {}
            Err(_) => raw.report.problem(
                &place,
                format_args!(
                    "`{value}` in `trusted_proxies` is neither an IP address nor a network such as `10.0.0.0/8`"
                ),
            ),
        }
    }
}

pub(super) fn prefixes(raw: &mut Raw) -> Prefixes {
    let v4 = raw.parsed("prefixes.v4", "write it as `100.64.0.0/10`").map(|net: Ipv4Net| net.trunc());
    let v6 = raw.parsed("prefixes.v6", "write it as `fd7a:115c:a1e0::/48`").map(|net: Ipv6Net| net.trunc());
    let unset = raw.text("prefixes.v4").is_none() && raw.text("prefixes.v6").is_none();
    if unset {
        raw.report.problem(
            &Place::Absent,
            "`prefixes.v4` and `prefixes.v6` are missing: set at least one of them, usually to `100.64.0.0/10` and `fd7a:115c:a1e0::/48`",
        );
    }
    warn_outside(raw, "prefixes.v4", v4.map(IpNet::from), "100.64.0.0/10");
    warn_outside(raw, "prefixes.v6", v6.map(IpNet::from), "fd7a:115c:a1e0::/48");
    let allocations = [("sequential", Allocation::Sequential), ("random", Allocation::Random)];
    let allocation = raw.choice("prefixes.allocation", Allocation::Sequential, &allocations);
    Prefixes { v4, v6, allocation }
}

/// Clients have routes for Tailscale's own two ranges only.
fn warn_outside(raw: &mut Raw, key: &str, net: Option<IpNet>, usual: &str) {
    let Ok(range) = usual.parse::<IpNet>() else { return };
    if let Some(net) = net
        && !range.contains(&net)
    {
        raw.warn(
            key,
            format_args!(
                "`{net}` is outside `{usual}`, which clients do not support: expect broken routes and DNS"
            ),
        );
    }
}
