//! From the raw document to [`Config`]. A problem does not end the checks, so that all problems are reported at once.

mod derp;
mod dns;
mod net;

pub(crate) use dns::extra_record;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::duration;
use super::raw::{At, Raw};
use super::report::ConfigError;
use super::settings::*;

/// The same as in Headscale.
const DEFAULT_SOCKET: &str = "/var/run/headscale/headscale.sock";

/// Where a document comes from.
pub(super) struct Origin<'a> {
    /// `None` for the built-in defaults.
    pub(super) file: Option<&'a Path>,
    /// The directory for generated files, if one was chosen; otherwise that of the database.
    pub(super) data_dir: Option<&'a Path>,
    /// Whether this is the document of the built-in defaults.
    pub(super) built_in: bool,
}

/// # Errors
/// All problems, in the order of the checks.
pub(super) fn config(mut raw: Raw, origin: &Origin<'_>) -> Result<Config, ConfigError> {
    let raw_mut = &mut raw;
    let server_url = net::server_url(raw_mut);
    let database = database(raw_mut);
    let noise_private_key_path = required_path(raw_mut, "noise.private_key_path", "noise_private.key");
    let data_dir = origin.data_dir.map_or_else(|| parent(&database.path), Path::to_owned);
    let derp = derp::derp(raw_mut, &noise_private_key_path, &data_dir);
    let (listeners, certificate) =
        net::listeners(raw_mut, &server_url, derp.server.is_some(), &data_dir, origin.built_in);
    let config = Config {
        file: origin.file.map(Path::to_owned),
        warnings: Vec::new(),
        prefixes: net::prefixes(raw_mut),
        dns: dns::dns(raw_mut, &server_url),
        unix_socket: unix_socket(raw_mut),
        unix_socket_permission: permission(raw_mut),
        lifetimes: lifetimes(raw_mut),
        policy: policy(raw_mut),
        policy_domains: policy_domains(raw_mut),
        taildrop: raw_mut.bool("taildrop.enabled", true),
        auto_update: raw_mut.bool("auto_update.enabled", false),
        pending_logins: pending_logins(raw_mut),
        log: log(raw_mut),
        cli: cli(raw_mut),
        data_dir,
        server_url,
        listeners,
        certificate,
        noise_private_key_path,
        database,
        derp,
    };
    check_unsupported(&mut raw);
    let warnings = raw.report.finish()?;
    Ok(Config { warnings, ..config })
}

pub(super) fn unix_socket(raw: &mut Raw) -> PathBuf {
    raw.path("unix_socket").unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET))
}

pub(super) fn cli(raw: &mut Raw) -> Cli {
    Cli {
        address: raw.text("cli.address").map(|text| text.value),
        api_key: raw.text("cli.api_key").map(|text| text.value),
        timeout: raw.duration("cli.timeout", Duration::from_secs(5)),
        insecure: raw.bool("cli.insecure", false),
    }
}

fn permission(raw: &mut Raw) -> u32 {
    const DEFAULT: u32 = 0o770;
    let key = "unix_socket_permission";
    let Some(at) = raw.text(key) else { return DEFAULT };
    match u32::from_str_radix(at.value.strip_prefix("0o").unwrap_or(&at.value), 8) {
        Ok(bits) if bits <= 0o777 => bits,
        _ => {
            raw.must_be(key, &at, "an octal file mode, such as `0770`");
            DEFAULT
        }
    }
}

fn database(raw: &mut Raw) -> Database {
    let key = "database.type";
    if let Some(at) = raw.text(key) {
        match at.value.to_ascii_lowercase().as_str() {
            "sqlite" | "sqlite3" => {}
            "postgres" | "postgresql" => raw.problem(
                key,
                "`database.type: postgres` is not supported yet: use `sqlite` and set `database.sqlite.path`",
            ),
            _ => raw.must_be(key, &at, "`sqlite`"),
        }
    }
    let pages = raw.int("database.sqlite.wal_autocheckpoint", 1000, 0..=i64::from(i32::MAX));
    Database {
        path: required_path(raw, "database.sqlite.path", "db.sqlite"),
        write_ahead_log: raw.bool("database.sqlite.write_ahead_log", true),
        wal_autocheckpoint: u32::try_from(pages).unwrap_or(1000),
    }
}

/// A path that must be set; `example` is the file name in the advice.
fn required_path(raw: &mut Raw, key: &str, example: &str) -> PathBuf {
    raw.path(key).unwrap_or_else(|| {
        raw.missing(key, format_args!("set it to a file such as `/var/lib/headscale/{example}`"));
        PathBuf::new()
    })
}

fn parent(path: &Path) -> PathBuf {
    path.parent().map_or_else(PathBuf::new, Path::to_owned)
}

fn lifetimes(raw: &mut Raw) -> Lifetimes {
    let ephemeral_key = "node.ephemeral.inactivity_timeout";
    let ephemeral = raw.duration(ephemeral_key, Duration::from_secs(120));
    at_least_a_second(raw, ephemeral_key, ephemeral, "120s");
    Lifetimes { node_expiry: node_expiry(raw), ephemeral }
}

/// An invalid value is only a warning, as in Headscale: a default for later logins must not prevent startup.
fn node_expiry(raw: &mut Raw) -> Option<Duration> {
    let At { value, place } = raw.text("node.expiry")?;
    let expiry = duration::parse(&value).unwrap_or_else(|why| {
        raw.report.warn(&place, format_args!("`node.expiry`: {why}; node keys do not expire"));
        Duration::ZERO
    });
    (!expiry.is_zero()).then_some(expiry)
}

/// Settings that have no effect yet. They are checked all the same, so that a mistake in one does not surface only with
/// the version that supports it.
fn check_unsupported(raw: &mut Raw) {
    net::trusted_proxies(raw);
    route_probes(raw);
    raw.duration("preauth_keys.revoked_retention", Duration::ZERO);
}

fn route_probes(raw: &mut Raw) {
    let (interval_key, timeout_key) = ("node.routes.ha.probe_interval", "node.routes.ha.probe_timeout");
    let interval = raw.duration(interval_key, Duration::from_secs(10));
    let timeout = raw.duration(timeout_key, Duration::from_secs(5));
    if interval.is_zero() {
        return;
    }
    if interval < Duration::from_secs(2) {
        raw.problem(interval_key, format_args!("`{interval_key}` must be `0` (off) or at least `2s`"));
    }
    if timeout < Duration::from_secs(1) || timeout >= interval {
        raw.problem(
            timeout_key,
            format_args!("`{timeout_key}` must be at least `1s` and shorter than `{interval_key}`"),
        );
    }
}

fn pending_logins(raw: &mut Raw) -> PendingLogins {
    let key = "tuning.register_cache_expiration";
    let lifetime = raw.duration(key, Duration::from_secs(15 * 60));
    at_least_a_second(raw, key, lifetime, "15m");
    let limit = raw.int("tuning.register_cache_max_entries", 1024, 1..=1_000_000);
    PendingLogins { lifetime, limit: usize::try_from(limit).unwrap_or(1024) }
}

fn policy(raw: &mut Raw) -> Policy {
    let path = raw.path("policy.path");
    let in_file = raw.choice("policy.mode", true, &[("file", true), ("database", false)]);
    if in_file { Policy::File(path) } else { Policy::Database }
}

fn policy_domains(raw: &mut Raw) -> Vec<String> {
    let listed = raw.list("policy.domains");
    for At { value, place } in &listed {
        let is_domain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-');
        if value.is_empty() || !value.chars().all(is_domain) {
            raw.report.problem(
                place,
                format_args!("`{value}` in `policy.domains` is not a domain: write it as `example.com`"),
            );
        }
    }
    listed.iter().map(|d| d.value.to_lowercase()).collect()
}

/// An invalid value is only a warning, as in Headscale.
pub(super) fn log(raw: &mut Raw) -> Log {
    let level = raw.text("log.level").map_or(LogLevel::Info, |At { value, place }| {
        match value.to_ascii_lowercase().as_str() {
            "trace" => LogLevel::Trace,
            "debug" => LogLevel::Debug,
            "info" => LogLevel::Info,
            "warn" | "warning" => LogLevel::Warn,
            "error" | "fatal" | "panic" => LogLevel::Error,
            "disabled" | "off" => LogLevel::Off,
            _ => {
                raw.report.warn(
                    &place,
                    format_args!("`{value}` is not a log level, using `info`: set `log.level` to `trace`, `debug`, `info`, `warn`, `error` or `disabled`"),
                );
                LogLevel::Info
            }
        }
    });
    let json = raw.text("log.format").is_some_and(|At { value, place }| {
        if !matches!(value.as_str(), "text" | "json") {
            raw.report.warn(
                &place,
                format_args!(
                    "`{value}` is not a log format, using `text`: set `log.format` to `text` or `json`"
                ),
            );
        }
        value == "json"
    });
    Log { level, json }
}

fn at_least_a_second(raw: &mut Raw, key: &str, value: Duration, example: &str) {
    if value < Duration::from_secs(1) {
        let value = duration::go_style(value);
        raw.problem(key, format_args!("`{key}` must be at least `1s`, such as `{example}`, not `{value}`"));
    }
}
