//! The configuration: Headscale's file format and environment variables, parsed and checked into [`Config`].
//!
//! A value passes through `tree` (text that remembers its line and column), `env` (variables override the file), `raw`
//! (known keys, values of the right shape) and `check` (typed values, and the rules between them). Nothing is printed
//! here: problems are the error, warnings are a field of the result.

mod addresses;
mod check;
pub mod duration;
mod env;
mod raw;
mod report;
mod schema;
mod settings;
#[cfg(test)]
mod tests;
pub(crate) mod tree;

use std::path::{Path, PathBuf};

pub use addresses::{is_private, private_addresses};
pub(crate) use check::extra_record;
pub use env::{Env, process_env};
pub use report::ConfigError;
pub use settings::*;

use crate::system::files;
use check::Origin;
use raw::Raw;
use report::Report;
use tree::{Place, Tree, Value};

/// Bound on the configuration file.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// The command line flags that choose the configuration.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
}

/// What the command line needs to reach the server.
#[derive(Clone)]
pub struct ClientConfig {
    /// The unix socket of a server on this machine.
    pub unix_socket: PathBuf,
    /// How to reach a remote server, if one is configured.
    pub cli: Cli,
}

/// Reads the configuration of a server: the file in `source`, otherwise the first file in the default locations,
/// otherwise the built-in defaults. A data directory without a file means the built-in defaults in that directory.
///
/// # Errors
/// Every problem that prevents startup.
pub fn load(source: &Source, env: &Env) -> Result<Config, ConfigError> {
    load_with_log(source, env).1
}

/// Like [`load`], but returns the log settings even if the rest is invalid, so that the problems can be logged as
/// configured. If the file cannot be read, the log settings come from the environment. The file is read once, because
/// it may be a pipe.
pub fn load_with_log(source: &Source, env: &Env) -> (Log, Result<Config, ConfigError>) {
    let (document, data_dir) = (document(source, env), chosen_data_dir(source, env));
    let (raw, origin) = match &document {
        Document::File(file) => {
            (read(file, env), Origin { file: Some(file), data_dir: data_dir.as_deref(), built_in: false })
        }
        Document::BuiltIn(data_dir) => {
            (Ok(built_in(data_dir, env)), Origin { file: None, data_dir: Some(data_dir), built_in: true })
        }
    };
    let mut log_source = raw.as_ref().map_or_else(|_| built_in(Path::new(""), env), Raw::clone);
    (check::log(&mut log_source), raw.and_then(|raw| check::config(raw, &origin)))
}

/// Reads only what the command line needs to reach the server. Problems elsewhere in the file are ignored.
///
/// # Errors
/// The file cannot be read, or these settings are invalid.
pub fn load_client(source: &Source, env: &Env) -> Result<ClientConfig, ConfigError> {
    let mut raw = match document(source, env) {
        Document::File(file) => {
            let mut raw = read(&file, env)?;
            raw.report = Report::new(Some(&file));
            raw
        }
        Document::BuiltIn(data_dir) => {
            let mut raw = built_in(&data_dir, env);
            raw.report = Report::new(None);
            raw
        }
    };
    let client = ClientConfig { unix_socket: check::unix_socket(&mut raw), cli: check::cli(&mut raw) };
    raw.report.finish()?;
    Ok(client)
}

#[cfg(test)]
impl Config {
    /// The built-in defaults with all files in `data_dir`; `env` still overrides them.
    ///
    /// # Errors
    /// A variable has an invalid value.
    pub fn embedded(data_dir: &Path, env: &Env) -> Result<Config, ConfigError> {
        let origin = Origin { file: None, data_dir: Some(data_dir), built_in: true };
        check::config(built_in(data_dir, env), &origin)
    }
}

/// The data directory if no flag sets one: `HEADSAIL_DATA_DIR`, otherwise `/var/lib/headsail` for root and `headsail`
/// in the user's data directory for everyone else.
pub fn default_data_dir(env: &Env) -> PathBuf {
    let set = |name: &str| env.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(dir) = set("HEADSAIL_DATA_DIR") {
        return dir;
    }
    if is_root() {
        return PathBuf::from("/var/lib/headsail");
    }
    let home = set("HOME");
    set("XDG_DATA_HOME")
        .or_else(|| home.map(|home| home.join(".local/share")))
        .map_or_else(|| PathBuf::from("headsail-data"), |dir| dir.join("headsail"))
}

/// Whether this process runs as root; `false` if that cannot be determined.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Which configuration is in effect.
enum Document {
    File(PathBuf),
    /// The built-in defaults in this data directory.
    BuiltIn(PathBuf),
}

fn document(source: &Source, env: &Env) -> Document {
    let named = |name: &str| env.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config =
        source.config.clone().or_else(|| named("HEADSAIL_CONFIG")).or_else(|| named("HEADSCALE_CONFIG"));
    if let Some(file) = config {
        return Document::File(file);
    }
    if let Some(data_dir) = chosen_data_dir(source, env) {
        return Document::BuiltIn(data_dir);
    }
    let found = default_locations(env).into_iter().find(|file| file.is_file());
    found.map_or_else(|| Document::BuiltIn(default_data_dir(env)), Document::File)
}

fn chosen_data_dir(source: &Source, env: &Env) -> Option<PathBuf> {
    let variable = || env.get("HEADSAIL_DATA_DIR").filter(|value| !value.is_empty()).map(PathBuf::from);
    source.data_dir.clone().or_else(variable)
}

/// The files that are tried if none is named, in this order.
fn default_locations(env: &Env) -> Vec<PathBuf> {
    let mut dirs = vec![PathBuf::from("/etc/headsail"), PathBuf::from("/etc/headscale")];
    if let Some(home) = env.get("HOME").filter(|home| !home.is_empty()) {
        dirs.extend([".headsail", ".headscale"].map(|name| Path::new(home).join(name)));
    }
    dirs.push(PathBuf::from("."));
    let names = ["config.yaml", "config.yml", "config.json"];
    dirs.iter().flat_map(|dir| names.map(|name| dir.join(name))).collect()
}

fn read(file: &Path, env: &Env) -> Result<Raw, ConfigError> {
    let mut report = Report::new(Some(file));
    let text = read_text(file).map_err(|why| Report::new(None).fail(&Place::Absent, why))?;
    let mut root = match Tree::parse(&text) {
        Ok(root) => root,
        Err(error) => {
            return Err(report.fail(&error.place, format_args!("the file is not valid YAML: {}", error.why)));
        }
    };
    env::overlay(&mut root, env, &mut report);
    let base = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let base = std::path::absolute(base).unwrap_or_else(|_| base.to_owned());
    Ok(Raw::new(root, base, report))
}

fn read_text(file: &Path) -> Result<String, String> {
    files::read_bounded(file, MAX_FILE_BYTES)
        .map_err(|error| format!("cannot read the configuration file `{}`: {error}", file.display()))
}

/// The URL at which machines on the local network reach a listener: its own address, or this machine's private address
/// if it listens on all interfaces.
fn url_of_listener(listen: &str) -> String {
    let (host, port) = listen.rsplit_once(':').unwrap_or(("", "8080"));
    let all_interfaces = host
        .trim_matches(['[', ']'])
        .parse::<std::net::IpAddr>()
        .map_or(host.is_empty(), |ip| ip.is_unspecified());
    let host = match private_addresses().first() {
        Some(std::net::IpAddr::V4(ip)) if all_interfaces => ip.to_string(),
        Some(std::net::IpAddr::V6(ip)) if all_interfaces => format!("[{ip}]"),
        _ if all_interfaces => "127.0.0.1".to_owned(),
        _ => host.to_owned(),
    };
    format!("http://{host}:{port}")
}

/// The built-in defaults as a document, so that environment variables and checks treat them like a file.
fn built_in(data_dir: &Path, env: &Env) -> Raw {
    let data_dir = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    let defaults: &[(&str, &str)] = &[
        ("listen_addr", ":8080"),
        ("tls_listen_addr", ":8443"),
        ("noise.private_key_path", "noise_private.key"),
        ("prefixes.v4", "100.64.0.0/10"),
        ("prefixes.v6", "fd7a:115c:a1e0::/48"),
        ("database.type", "sqlite"),
        ("database.sqlite.path", "headsail.db"),
        ("derp.server.enabled", "true"),
        ("derp.server.stun_listen_addr", ":3478"),
        ("dns.base_domain", "mesh.internal"),
        ("dns.override_local_dns", "false"),
        ("policy.mode", "database"),
        ("unix_socket", "headsail.sock"),
        ("unix_socket_permission", "0700"),
    ];
    let mut root = Tree { place: Place::Absent, value: Value::Map(Vec::new()) };
    for (path, value) in defaults {
        root.set(path, Tree::text(Place::Absent, *value));
    }
    let mut report = Report::new(None);
    env::overlay(&mut root, env, &mut report);
    if root.get("server_url").is_none() {
        let listen = match root.get("listen_addr").map(|tree| &tree.value) {
            Some(Value::Text(text)) => text.clone(),
            _ => String::new(),
        };
        root.set("server_url", Tree::text(Place::Absent, url_of_listener(&listen)));
    }
    Raw::new(root, data_dir, report)
}
