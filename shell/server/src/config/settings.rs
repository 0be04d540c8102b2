//! The checked configuration: every value is typed and the rules between values hold.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

pub use headsail_tailnet::model::settings::Allocation;
use ipnet::{Ipv4Net, Ipv6Net};

use super::addresses::is_private;

/// The largest DERP region id: clients carry the region of a peer in the 16 bits of a port.
pub const MAX_REGION_ID: u32 = 65535;

/// The configuration of a server, as [`super::load`] returns it. The part that concerns the tailnet itself becomes
/// `headsail_tailnet`'s `Settings`.
#[derive(Clone)]
pub struct Config {
    /// The configuration file; `None` for the built-in defaults.
    pub file: Option<PathBuf>,
    /// One line each, in the order of the checks.
    pub warnings: Vec<String>,
    /// Where generated files are kept: the self-signed certificate and the last good DERP map.
    pub data_dir: PathBuf,
    pub server_url: ServerUrl,
    pub listeners: Listeners,
    /// For all TLS listeners.
    pub certificate: Certificate,
    /// The socket on which the command line reaches the server.
    pub unix_socket: PathBuf,
    /// File mode of the socket.
    pub unix_socket_permission: u32,
    /// The key file of the control protocol; clients identify the server by this key.
    pub noise_private_key_path: PathBuf,
    pub prefixes: Prefixes,
    pub database: Database,
    pub derp: Derp,
    pub dns: Dns,
    pub lifetimes: Lifetimes,
    pub policy: Policy,
    /// The domains by which a policy may refer to users, in lower case; if empty, those of the users' e-mail addresses.
    pub policy_domains: Vec<String>,
    /// Whether nodes of one user may send each other files.
    pub taildrop: bool,
    /// Whether clients are told to update themselves.
    pub auto_update: bool,
    pub pending_logins: PendingLogins,
    pub log: Log,
    pub cli: Cli,
}

/// The URL at which clients reach the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    /// The URL without a trailing slash.
    pub text: String,
    /// Whether the scheme is `https` rather than `http`.
    pub https: bool,
    /// Name or IP address in lower case; IPv6 without brackets.
    pub host: String,
    /// The port, or the default of the scheme if the URL has none.
    pub port: u16,
}

impl ServerUrl {
    /// The host, if it is an IP address.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    pub fn set_port(&mut self, port: u16) {
        let scheme = if self.https { "https" } else { "http" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        self.text = format!("{scheme}://{host}:{port}");
        self.port = port;
    }

    /// Whether official clients reconnect over TLS on port 443 after an outage, regardless of the URL. They do for
    /// plain http URLs with a name or an address that is not private (`controlhttp` in the Go client).
    pub fn redials_over_tls(&self) -> bool {
        !self.https && self.host != "localhost" && !self.ip().is_some_and(is_private)
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// An address to listen on: `127.0.0.1:8080`, `[::1]:8080`, `:8080` (all interfaces, both families) or `name:8080`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddr {
    /// Name or IP address without brackets; empty for all interfaces.
    pub host: String,
    /// The port; 0 lets the system choose.
    pub port: u16,
}

impl ListenAddr {
    /// The addresses to bind, in order of preference; the first that works is enough. For all interfaces these are the
    /// IPv6 wildcard, which also accepts IPv4, and the IPv4 wildcard for hosts without IPv6. May block on the system's
    /// resolver.
    ///
    /// # Errors
    /// The host name does not resolve.
    pub fn candidates(&self) -> io::Result<Vec<SocketAddr>> {
        if self.host.is_empty() {
            let all = [IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
            return Ok(all.map(|ip| SocketAddr::new(ip, self.port)).to_vec());
        }
        (self.host.as_str(), self.port).to_socket_addrs().map(Iterator::collect)
    }

    pub fn with_port(&self, port: u16) -> ListenAddr {
        ListenAddr { host: self.host.clone(), port }
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Where the server listens. At least one of `http` and `tls` is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listeners {
    pub http: Option<ListenAddr>,
    /// Whether `http` also accepts TLS: the relay needs TLS, and this may be the only port that clients can reach.
    pub http_offers_tls: bool,
    pub tls: Option<ListenAddr>,
    pub metrics: Option<ListenAddr>,
    /// Whether to use the next free port if one is taken (built-in defaults only).
    pub ports_may_move: bool,
    /// Clients reconnect over TLS on port 443, but no configured listener is there: try to listen on it as well.
    pub needs_tls_443: bool,
}

/// The certificate of the TLS listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// The administrator's files, in PEM.
    Files {
        /// Certificate chain, leaf first.
        cert: PathBuf,
        key: PathBuf,
    },
    /// Generated by the server and kept in these files.
    SelfSigned { cert: PathBuf, key: PathBuf },
}

/// The ranges of node addresses. At least one is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefixes {
    pub v4: Option<Ipv4Net>,
    pub v6: Option<Ipv6Net>,
    pub allocation: Allocation,
}

/// The SQLite database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    pub path: PathBuf,
    /// Use a write-ahead log instead of a rollback journal.
    pub write_ahead_log: bool,
    /// Pages in the write-ahead log before a checkpoint; 0 disables checkpoints.
    pub wal_autocheckpoint: u32,
}

/// The sources of the DERP map, and the embedded relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derp {
    /// The embedded relay, if it is enabled.
    pub server: Option<DerpServer>,
    /// URLs of maps to fetch.
    pub urls: Vec<String>,
    /// Map files; later ones win.
    pub paths: Vec<PathBuf>,
    /// How often maps are reloaded; `None` for never.
    pub update_every: Option<Duration>,
    /// The file in which the last good map is cached.
    pub cache: PathBuf,
}

/// The embedded relay and STUN server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DerpServer {
    /// 1 to [`MAX_REGION_ID`].
    pub region_id: u32,
    /// Short name of the region.
    pub region_code: String,
    /// Display name of the region.
    pub region_name: String,
    /// Whether only registered nodes may use the relay.
    pub verify_clients: bool,
    /// UDP.
    pub stun_listen: ListenAddr,
    pub private_key_path: PathBuf,
    /// Whether to add the region to the DERP map.
    pub add_region: bool,
    /// Address for the DERP map, so that clients need no DNS to reach the relay.
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
}

/// The DNS settings of clients.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Dns {
    /// Whether node names resolve.
    pub magic_dns: bool,
    /// The domain of node names, in lower case and without a trailing dot; may be empty.
    pub base_domain: String,
    /// Whether `node.user.base_domain` resolves as well; `None` for as long as the tailnet is small and has no extra
    /// records.
    pub user_names: Option<bool>,
    /// Whether the global resolvers replace those of the client's system.
    pub override_local_dns: bool,
    /// Resolvers for all domains: IP addresses or DNS-over-HTTPS URLs.
    pub global: Vec<String>,
    /// Resolvers by domain.
    pub split: BTreeMap<String, Vec<String>>,
    /// In addition to the base domain, which comes first.
    pub search_domains: Vec<String>,
    pub extra_records: Vec<ExtraRecord>,
    /// A JSON file of records, watched for changes.
    pub extra_records_path: Option<PathBuf>,
}

/// A DNS record that clients resolve themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraRecord {
    /// Fully qualified name, in lower case.
    pub name: String,
    /// `A` or `AAAA`.
    pub kind: String,
    /// IP address.
    pub value: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of the node keys of users; `None` if they do not expire.
    pub node_expiry: Option<Duration>,
    /// How long an ephemeral node may be offline before it is deleted.
    pub ephemeral: Duration,
}

/// Bounds on pending registrations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingLogins {
    /// How long one can be approved.
    pub lifetime: Duration,
    /// How many there can be at once.
    pub limit: usize,
}

/// Where the policy comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// A HuJSON file; without one, every node may reach every other.
    File(Option<PathBuf>),
    /// The database; it is set through the API.
    Database,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The minimum severity.
    pub level: LogLevel,
    /// JSON instead of plain text.
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    /// No log at all.
    Off,
}

impl LogLevel {
    /// The name of the level in `tracing` filters.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Trace => "trace",
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
            LogLevel::Off => "off",
        }
    }
}

/// How the command line reaches a server. Contains a secret, so it does not implement `Debug`.
#[derive(Clone)]
pub struct Cli {
    /// A remote server; `None` for the unix socket.
    pub address: Option<String>,
    /// The API key for the remote server.
    pub api_key: Option<String>,
    /// For one request.
    pub timeout: Duration,
    /// Accept any TLS certificate.
    pub insecure: bool,
}
