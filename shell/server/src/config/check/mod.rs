//! From the raw document to [`Settings`]: every problem is noted and the reading goes on, so that all are shown at once.

mod derp;
mod dns;
mod net;

pub(crate) use dns::extra_record;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::raw::{At, Raw};
use super::report::ConfigError;
use super::settings::*;
use super::tree::Place;
use super::{duration, schema};

/// Where the administration socket is unless configured.
const DEFAULT_SOCKET: &str = "/var/run/headscale/headscale.sock";

/// What is known before the document is read.
pub(super) struct Origin<'a> {
    /// The file of the document.
    pub(super) file: Option<&'a Path>,
    /// Where generated files go; without it they live beside the database.
    pub(super) data_dir: Option<&'a Path>,
    /// Whether these are our own defaults.
    pub(super) built_in: bool,
}

/// Checks everything.
///
/// # Errors
/// All problems that were found.
pub(super) fn settings(mut raw: Raw, origin: &Origin<'_>) -> Result<Settings, ConfigError> {
    let raw_mut = &mut raw;
    let server_url = net::server_url(raw_mut);
    let database = database(raw_mut);
    let noise_private_key_path = required_path(raw_mut, "noise.private_key_path", "noise_private.key");
    let data_dir = origin.data_dir.map_or_else(|| parent(&database.path), Path::to_owned);
    let derp = derp::derp(raw_mut, &noise_private_key_path, &data_dir);
    let (listeners, certificate) =
        net::listeners(raw_mut, &server_url, derp.server.is_some(), &data_dir, origin.built_in);
    let settings = Settings {
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
    without_effect(&mut raw);
    let warnings = raw.report.finish()?;
    Ok(Settings { warnings, ..settings })
}

/// The administration socket.
pub(super) fn unix_socket(raw: &mut Raw) -> PathBuf {
    raw.path("unix_socket").unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET))
}

/// How the command line reaches a server.
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
    let Some(At { value, place }) = raw.text("unix_socket_permission") else { return DEFAULT };
    let digits = value.strip_prefix("0o").unwrap_or(&value);
    match u32::from_str_radix(digits, 8) {
        Ok(bits) if bits <= 0o777 => bits,
        _ => {
            raw.report.problem(
                &place,
                format_args!("`unix_socket_permission` must be octal, such as `0770`, not `{value}`"),
            );
            DEFAULT
        }
    }
}

fn database(raw: &mut Raw) -> Database {
    if let Some(At { value, place }) = raw.text("database.type") {
        match value.to_ascii_lowercase().as_str() {
            "sqlite" | "sqlite3" => {}
            "postgres" | "postgresql" => raw.report.problem(
                &place,
                "`database.type: postgres` is not supported yet: use `sqlite` and set `database.sqlite.path`",
            ),
            _ => raw.report.problem(
                &place,
                format_args!("`{value}` is not a database type: set `database.type` to `sqlite`"),
            ),
        }
    }
    let pages = raw.int("database.sqlite.wal_autocheckpoint", 1000, 0..=i64::from(i32::MAX));
    Database {
        path: required_path(raw, "database.sqlite.path", "db.sqlite"),
        write_ahead_log: raw.bool("database.sqlite.write_ahead_log", true),
        wal_autocheckpoint: u32::try_from(pages).unwrap_or(1000),
    }
}

/// A path that must be given; `example` is the file name in the advice.
fn required_path(raw: &mut Raw, key: &str, example: &str) -> PathBuf {
    raw.path(key).unwrap_or_else(|| {
        raw.report.problem(
            &Place::Absent,
            format_args!("`{key}` is missing: set it to a file such as `/var/lib/headscale/{example}`"),
        );
        PathBuf::new()
    })
}

fn parent(path: &Path) -> PathBuf {
    path.parent().map_or_else(PathBuf::new, Path::to_owned)
}

fn lifetimes(raw: &mut Raw) -> Lifetimes {
    let ephemeral_key = "node.ephemeral.inactivity_timeout";
    let ephemeral = raw.duration(ephemeral_key, Duration::from_secs(120));
    if ephemeral < Duration::from_secs(1) {
        problem_at(
            raw,
            ephemeral_key,
            format_args!("`{ephemeral_key}` must be at least `1s`, not `{}`", duration::go_style(ephemeral)),
        );
    }
    Lifetimes { node_expiry: node_expiry(raw), ephemeral }
}

/// A bad value only warns, as in Headscale: a start must not fail over a default for later logins.
fn node_expiry(raw: &mut Raw) -> Option<Duration> {
    let At { value, place } = raw.text("node.expiry")?;
    let expiry = duration::parse(&value).unwrap_or_else(|why| {
        raw.report.warn(&place, format_args!("`node.expiry`: {why}; node keys will not expire"));
        Duration::ZERO
    });
    (!expiry.is_zero()).then_some(expiry)
}

/// Settings that nothing acts upon yet: a mistake in one is named all the same, not first by the version that does.
fn without_effect(raw: &mut Raw) {
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
        let place = raw.place(interval_key);
        raw.report.problem(&place, format_args!("`{interval_key}` must be `0` (off) or at least `2s`"));
    }
    if timeout < Duration::from_secs(1) || timeout >= interval {
        let place = raw.place(timeout_key);
        raw.report.problem(
            &place,
            format_args!("`{timeout_key}` must be at least `1s` and shorter than `{interval_key}`"),
        );
    }
}

fn pending_logins(raw: &mut Raw) -> PendingLogins {
    let key = "tuning.register_cache_expiration";
    let lifetime = raw.duration(key, Duration::from_secs(15 * 60));
    if lifetime < Duration::from_secs(1) {
        problem_at(raw, key, format_args!("`{key}` must be at least `1s`, such as `15m`"));
    }
    let limit = raw.int("tuning.register_cache_max_entries", 1024, 1..=1_000_000);
    PendingLogins { lifetime, limit: usize::try_from(limit).unwrap_or(1024) }
}

fn policy(raw: &mut Raw) -> Policy {
    let path = raw.path("policy.path");
    match raw.text("policy.mode") {
        None => Policy::File(path),
        Some(At { value, .. }) if value == "file" => Policy::File(path),
        Some(At { value, .. }) if value == "database" => Policy::Database,
        Some(At { value, place }) => {
            raw.report
                .problem(&place, format_args!("`policy.mode` must be `file` or `database`, not `{value}`"));
            Policy::File(path)
        }
    }
}

fn policy_domains(raw: &mut Raw) -> Vec<String> {
    let listed = raw.list("policy.domains");
    for At { value, place } in &listed {
        let is_domain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-');
        if value.is_empty() || !value.chars().all(is_domain) {
            raw.report.problem(
                place,
                format_args!(
                    "`policy.domains` has `{value}`, which is no domain; write it like `example.com`"
                ),
            );
        }
    }
    listed.iter().map(|d| d.value.to_lowercase()).collect()
}

/// A bad value only warns, as in Headscale.
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
                    format_args!("`{value}` is not a log level, `info` is used: set one of `trace`, `debug`, `info`, `warn`, `error`, `disabled`"),
                );
                LogLevel::Info
            }
        }
    });
    let json = raw.text("log.format").is_some_and(|At { value, place }| {
        if !matches!(value.as_str(), "text" | "json") {
            raw.report.warn(
                &place,
                format_args!("`{value}` is not a log format, `text` is used: set `text` or `json`"),
            );
        }
        value == "json"
    });
    Log { level, json }
}

/// A problem at a key of the schema, wherever it was set.
fn problem_at(raw: &mut Raw, key: &str, text: impl std::fmt::Display) {
    debug_assert!(schema::find(key).is_some());
    let place = raw.place(key);
    raw.report.problem(&place, text);
}
