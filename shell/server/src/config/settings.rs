//! The checked configuration: every value typed, every rule between values kept.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::{Ipv4Net, Ipv6Net};

use super::addresses::is_private;

/// Everything the server was told. Made by [`super::load`] and [`Settings::embedded`].
#[derive(Clone)]
pub struct Settings {
    /// The file that was read; none for the built-in defaults.
    pub file: Option<PathBuf>,
    /// What the user should know, one line each, in the order it was found.
    pub warnings: Vec<String>,
    /// Where generated files live: the self-signed certificate and the last good DERP map.
    pub data_dir: PathBuf,
    /// The URL that clients use.
    pub server_url: ServerUrl,
    /// Where to listen.
    pub listeners: Listeners,
    /// The certificate of all TLS listeners.
    pub certificate: Certificate,
    /// The administration socket.
    pub unix_socket: PathBuf,
    /// Its permission bits.
    pub unix_socket_permission: u32,
    /// The key file of the control protocol.
    pub noise_private_key_path: PathBuf,
    /// The addresses that nodes get.
    pub prefixes: Prefixes,
    /// The database.
    pub database: Database,
    /// Relays.
    pub derp: Derp,
    /// What clients are told about names.
    pub dns: Dns,
    /// Lifetimes of nodes and keys.
    pub lifetimes: Lifetimes,
    /// Where the policy comes from.
    pub policy: Policy,
    /// The domains that a policy may name users by, in lower case; empty stands for those of the users' e-mail addresses.
    pub policy_domains: Vec<String>,
    /// Whether nodes may send files to each other.
    pub taildrop: bool,
    /// Whether clients are told to update themselves.
    pub auto_update: bool,
    /// Logins that wait for a person.
    pub pending_logins: PendingLogins,
    /// Log lines.
    pub log: Log,
    /// How the command line reaches the server.
    pub cli: Cli,
}

/// The address of the server as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    /// The URL without a slash at its end.
    pub text: String,
    /// `https` rather than `http`.
    pub https: bool,
    /// Name or address, IPv6 without brackets, lower case.
    pub host: String,
    /// The port, also where the URL leaves it out.
    pub port: u16,
}

impl ServerUrl {
    /// The host as an address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// The same server on another port.
    pub fn set_port(&mut self, port: u16) {
        let scheme = if self.https { "https" } else { "http" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        self.text = format!("{scheme}://{host}:{port}");
        self.port = port;
    }

    /// Whether official clients come back to this URL over TLS on port 443 after an outage, whatever the URL says:
    /// plain http with a name or with an address that is not private (`controlhttp` of the Go client).
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
    /// Name or address without brackets; empty for all interfaces.
    pub host: String,
    /// The port; 0 lets the system choose.
    pub port: u16,
}

impl ListenAddr {
    /// The addresses to try in turn; the first that can be bound is the one. For all interfaces that is the IPv6
    /// wildcard (which takes IPv4 as well), then the IPv4 one for hosts without IPv6.
    ///
    /// # Errors
    /// The name is unknown to the system's resolver, which is asked and may block.
    pub fn candidates(&self) -> io::Result<Vec<SocketAddr>> {
        if self.host.is_empty() {
            let all = [IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
            return Ok(all.map(|ip| SocketAddr::new(ip, self.port)).to_vec());
        }
        (self.host.as_str(), self.port).to_socket_addrs().map(Iterator::collect)
    }

    /// The same host with another port.
    pub fn with_port(&self, port: u16) -> ListenAddr {
        ListenAddr { host: self.host.clone(), port }
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Where the server listens. At least one of `http` and `tls` is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listeners {
    /// Plain HTTP.
    pub http: Option<ListenAddr>,
    /// Whether clients that begin with TLS get it there, too: the relay needs TLS, wherever clients can reach us.
    pub http_offers_tls: bool,
    /// TLS.
    pub tls: Option<ListenAddr>,
    /// Metrics and debug pages.
    pub metrics: Option<ListenAddr>,
    /// If a port is taken the next free one may be used (built-in defaults only).
    pub ports_may_move: bool,
    /// Clients will redial port 443 with TLS and nothing configured answers there: try to listen on it too.
    pub needs_tls_443: bool,
}

/// The certificate that TLS listeners show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// The user's own files in PEM.
    Files {
        /// Certificate chain, leaf first.
        cert: PathBuf,
        /// Private key.
        key: PathBuf,
    },
    /// Made by the server and kept in these files.
    SelfSigned {
        /// Certificate.
        cert: PathBuf,
        /// Private key.
        key: PathBuf,
    },
}

/// The ranges that node addresses are taken from. At least one is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefixes {
    /// IPv4.
    pub v4: Option<Ipv4Net>,
    /// IPv6.
    pub v6: Option<Ipv6Net>,
    /// How the next address is found.
    pub allocation: Allocation,
}

/// How addresses are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// The lowest free one.
    Sequential,
    /// Any free one.
    Random,
}

/// The SQLite database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// Its file.
    pub path: PathBuf,
    /// Write-ahead log instead of a rollback journal.
    pub write_ahead_log: bool,
    /// Pages in the log before it is written back; 0 for never.
    pub wal_autocheckpoint: u32,
}

/// Relays: the map that clients get, and our own relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derp {
    /// The relay inside this server.
    pub server: Option<DerpServer>,
    /// Maps to fetch.
    pub urls: Vec<String>,
    /// Map files, later ones win.
    pub paths: Vec<PathBuf>,
    /// How often maps are loaded again, if at all.
    pub update_every: Option<Duration>,
    /// Where the last good map is kept.
    pub cache: PathBuf,
}

/// The embedded relay and its STUN server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DerpServer {
    /// Number of its region, 1 to 65535.
    pub region_id: u32,
    /// Short name of its region.
    pub region_code: String,
    /// Name of its region for people.
    pub region_name: String,
    /// Only registered nodes may relay.
    pub verify_clients: bool,
    /// Where STUN listens (UDP).
    pub stun_listen: ListenAddr,
    /// The key file of the relay.
    pub private_key_path: PathBuf,
    /// Whether the region is added to the map that clients get.
    pub add_region: bool,
    /// IPv4 address in the map, so that clients need no DNS.
    pub ipv4: Option<Ipv4Addr>,
    /// IPv6 address in the map.
    pub ipv6: Option<Ipv6Addr>,
}

/// What clients are told about names.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Dns {
    /// Names of nodes resolve.
    pub magic_dns: bool,
    /// The domain under which nodes have their names; empty if none. Lower case, no dot at the end.
    pub base_domain: String,
    /// Whether `node.user.base_domain` resolves too; absent: while the network is small
    /// and has no extra records.
    pub user_names: Option<bool>,
    /// The global resolvers replace those of the client's system.
    pub override_local_dns: bool,
    /// Resolvers for everything: addresses or DNS-over-HTTPS URLs.
    pub global: Vec<String>,
    /// Resolvers per domain.
    pub split: BTreeMap<String, Vec<String>>,
    /// Search domains after the base domain.
    pub search_domains: Vec<String>,
    /// Names with addresses of their own.
    pub extra_records: Vec<ExtraRecord>,
    /// A JSON file of such records, watched while running.
    pub extra_records_path: Option<PathBuf>,
}

/// A name with an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraRecord {
    /// Full name, lower case.
    pub name: String,
    /// `A` or `AAAA`.
    pub kind: String,
    /// The address.
    pub value: String,
}

/// How long things live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Node keys of users; none for ever.
    pub node_expiry: Option<Duration>,
    /// How long an ephemeral node may be away before it is deleted.
    pub ephemeral: Duration,
}

/// Logins that wait for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingLogins {
    /// How long one waits.
    pub lifetime: Duration,
    /// How many may wait at once.
    pub limit: usize,
}

/// Where the policy comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// A HuJSON file; without a path everybody may reach everybody.
    File(Option<PathBuf>),
    /// The database, through the API.
    Database,
}

/// Log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least severity that is written.
    pub level: LogLevel,
    /// JSON instead of lines for people.
    pub json: bool,
}

/// Severity of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// For those who look for a fault.
    Debug,
    /// What happens.
    Info,
    /// What is odd.
    Warn,
    /// What failed.
    Error,
    /// Nothing.
    Off,
}

impl LogLevel {
    /// The level as `tracing` filters spell it.
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

/// How the command line reaches a server. Holds a secret, so it cannot be printed.
#[derive(Clone)]
pub struct Cli {
    /// Address of a remote server; none for the unix socket.
    pub address: Option<String>,
    /// API key for a remote server.
    pub api_key: Option<String>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Accept any certificate.
    pub insecure: bool,
}
