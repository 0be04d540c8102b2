//! The DERP map and the embedded relay.

use std::path::Path;
use std::time::Duration;

use super::super::raw::{At, Raw};
use super::super::settings::*;
use super::super::tree::Place;
use super::net::listen_addr;
use super::{at_least_a_second, parent};

pub(super) fn derp(raw: &mut Raw, noise_key: &Path, data_dir: &Path) -> Derp {
    let server = raw.bool("derp.server.enabled", false).then(|| server(raw, noise_key));
    let urls = urls(raw);
    let paths: Vec<_> = raw.list("derp.paths").iter().map(|path| raw.resolve(&path.value)).collect();
    let every = raw.duration("derp.update_frequency", Duration::from_secs(3 * 3600));
    let update = raw.bool("derp.auto_update_enabled", false);
    if update {
        at_least_a_second(raw, "derp.update_frequency", every, "24h");
    }
    if urls.is_empty() && paths.is_empty() && !server.as_ref().is_some_and(|server| server.add_region) {
        raw.report.warn(
            &Place::Absent,
            "no relay is configured, and without one `tailscale up` does not complete: enable `derp.server.enabled`, or set `derp.urls` or `derp.paths`",
        );
    }
    Derp { server, urls, paths, update_every: update.then_some(every), cache: data_dir.join("derp_map.json") }
}

fn server(raw: &mut Raw, noise_key: &Path) -> DerpServer {
    let stun_key = "derp.server.stun_listen_addr";
    if raw.text(stun_key).is_none() {
        raw.missing(stun_key, "the embedded relay needs it; set it to `0.0.0.0:3478`");
    }
    let key_key = "derp.server.private_key_path";
    let private_key_path =
        raw.path(key_key).unwrap_or_else(|| parent(noise_key).join("derp_server_private.key"));
    if private_key_path == noise_key {
        raw.problem(
            key_key,
            format_args!(
                "`{key_key}` and `noise.private_key_path` are the same file: give the relay a key file of its own"
            ),
        );
    }
    let text =
        |raw: &Raw, key: &str, default: &str| raw.text(key).map_or(default.to_owned(), |text| text.value);
    let region_ids = 1..=i64::from(MAX_REGION_ID);
    DerpServer {
        region_id: u32::try_from(raw.int("derp.server.region_id", 999, region_ids)).unwrap_or(999),
        region_code: text(raw, "derp.server.region_code", "headsail"),
        region_name: text(raw, "derp.server.region_name", "Headsail"),
        verify_clients: raw.bool("derp.server.verify_clients", true),
        stun_listen: listen_addr(raw, stun_key).unwrap_or(ListenAddr { host: String::new(), port: 3478 }),
        private_key_path,
        add_region: raw.bool("derp.server.automatically_add_embedded_derp_region", true),
        ipv4: raw.parsed("derp.server.ipv4", "it is not an IPv4 address"),
        ipv6: raw.parsed("derp.server.ipv6", "it is not an IPv6 address"),
    }
}

fn urls(raw: &mut Raw) -> Vec<String> {
    let mut urls = Vec::new();
    for At { value, place } in raw.list("derp.urls") {
        match reqwest::Url::parse(&value) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => urls.push(value),
            _ => raw.report.problem(
                &place,
                format_args!(
                    "`{value}` in `derp.urls` is not a URL that starts with `http://` or `https://`"
                ),
            ),
        }
    }
    urls
}
