//! The configuration: Headscale's file format and variables, read into a raw document and then into checked
//! [`Settings`].
//!
//! The road of a value: [`tree`](self) (text with places) -> environment laid over it -> raw document (known keys,
//! right shapes) -> checks (typed values, rules between them). Nothing is printed: problems are the error, warnings a
//! field of the result.

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

/// Larger files are no configuration.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// What the command line was told about the configuration.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
}

/// What the command line needs to reach a server.
#[derive(Clone)]
pub struct ClientSettings {
    /// The administration socket of a server on this machine.
    pub unix_socket: PathBuf,
    /// A server elsewhere, and how to talk to it.
    pub cli: Cli,
}

/// Reads the configuration of a server: the file that was named, or else the first that exists in the usual places, or
/// else the built-in defaults. A data directory without a file means the built-in defaults in that directory.
///
/// # Errors
/// Everything that forbids a start.
pub fn load(source: &Source, env: &Env) -> Result<Settings, ConfigError> {
    load_with_log(source, env).1
}

/// [`load`], and how the log is written, which can then tell what is wrong with the rest: of a file that cannot be read,
/// only variables say so. The file is read once, as it may be a pipe.
pub fn load_with_log(source: &Source, env: &Env) -> (Log, Result<Settings, ConfigError>) {
    let (document, chosen) = (document(source, env), chosen_data_dir(source, env));
    let (raw, origin) = match &document {
        Document::File(file) => {
            (read(file, env), Origin { file: Some(file), data_dir: chosen.as_deref(), built_in: false })
        }
        Document::BuiltIn(data_dir) => {
            (Ok(built_in(data_dir, env)), Origin { file: None, data_dir: Some(data_dir), built_in: true })
        }
    };
    let mut of_log = raw.as_ref().map_or_else(|_| built_in(Path::new(""), env), Raw::clone);
    (check::log(&mut of_log), raw.and_then(|raw| check::settings(raw, &origin)))
}

/// Reads only what the command line needs to reach a server, so that other faults of the file don't stand in its way.
///
/// # Errors
/// The file cannot be read, or these settings are wrong.
pub fn load_client(source: &Source, env: &Env) -> Result<ClientSettings, ConfigError> {
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
    let client = ClientSettings { unix_socket: check::unix_socket(&mut raw), cli: check::cli(&mut raw) };
    raw.report.finish()?;
    Ok(client)
}

#[cfg(test)]
impl Settings {
    /// The settings of a start without any configuration, all files in `data_dir`; variables still override them.
    ///
    /// Plain HTTP on port 8080 and TLS with a self-signed certificate on 8443 of all interfaces, the embedded relay
    /// with STUN on 3478, SQLite, names under `mesh.internal`; the URL is the first private address of this machine.
    ///
    /// # Errors
    /// A variable has an unusable value.
    pub fn embedded(data_dir: &Path, env: &Env) -> Result<Settings, ConfigError> {
        let origin = Origin { file: None, data_dir: Some(data_dir), built_in: true };
        check::settings(built_in(data_dir, env), &origin)
    }
}

/// The data directory that is used when none is named: `HEADSAIL_DATA_DIR`, or `/var/lib/headsail` for root, or
/// `headsail` in the user's data directory.
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

/// Whether this process belongs to root, as far as the system tells.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Which configuration counts.
enum Document {
    File(PathBuf),
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
    let found = usual_places(env).into_iter().find(|file| file.is_file());
    found.map_or_else(|| Document::BuiltIn(default_data_dir(env)), Document::File)
}

fn chosen_data_dir(source: &Source, env: &Env) -> Option<PathBuf> {
    let variable = || env.get("HEADSAIL_DATA_DIR").filter(|value| !value.is_empty()).map(PathBuf::from);
    source.data_dir.clone().or_else(variable)
}

/// The files that are tried when none is named, in this order.
fn usual_places(env: &Env) -> Vec<PathBuf> {
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
        .map_err(|error| format!("cannot read the configuration `{}`: {error}", file.display()))
}

/// The URL under which neighbours reach a listener: its own address, or for all interfaces this machine's private one.
fn url_of_listener(listen: &str) -> String {
    let (host, port) = listen.rsplit_once(':').unwrap_or(("", "8080"));
    let all = host
        .trim_matches(['[', ']'])
        .parse::<std::net::IpAddr>()
        .map_or(host.is_empty(), |ip| ip.is_unspecified());
    let host = match private_addresses().first() {
        Some(std::net::IpAddr::V4(ip)) if all => ip.to_string(),
        Some(std::net::IpAddr::V6(ip)) if all => format!("[{ip}]"),
        _ if all => "127.0.0.1".to_owned(),
        _ => host.to_owned(),
    };
    format!("http://{host}:{port}")
}

/// The built-in defaults as a document, so that variables and checks treat them like a file.
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
