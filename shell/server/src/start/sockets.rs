//! The sockets of the server. All are bound before anything is served, so that a port in use prevents startup.

use std::fs::Permissions;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headsail_wire::derp_map::DerpRegion;
use tokio::net::{TcpListener, UdpSocket, UnixListener};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::app::App;
use crate::config::{Config, ListenAddr, Listeners};
use crate::derp_map::{self, RelayAddress};
use crate::http;
use crate::http::metrics;
use crate::listen::{self, Service, Tls};
use crate::relay::stun;
use crate::start::ServeError;
use crate::system::files;
use crate::tls::{self, Certificates};

/// Bound on concurrent connections to the metrics. They have a limit of their own, so that metrics stay available when
/// clients use up theirs.
const METRICS_CONNECTIONS: usize = 16;
/// How many ports are tried, the configured one included, if another port may be used.
const PORTS_TO_TRY: u16 = 20;

/// All bound sockets.
pub(crate) struct Sockets {
    http: Vec<TcpListener>,
    pub tls: Vec<TcpListener>,
    stun: Vec<UdpSocket>,
    metrics: Option<TcpListener>,
}

impl Sockets {
    /// Binds all listeners. With the built-in defaults, uses the next free port if one is taken, and updates
    /// `server_url` accordingly.
    pub async fn open(settings: &mut Config) -> Result<Sockets, ServeError> {
        let moves = settings.listeners.ports_may_move;
        let mut held = Held::find();
        let mut sockets = Sockets { http: Vec::new(), tls: Vec::new(), stun: Vec::new(), metrics: None };
        if let Some(addr) = settings.listeners.http.clone() {
            let listener = held.take_or_bind(&addr, "listen_addr", moves).await?;
            let port = listener.local_addr()?.port();
            if port != addr.port {
                settings.server_url.set_port(port);
            }
            sockets.http.push(listener);
        }
        if let Some(addr) = settings.listeners.tls.clone() {
            // Certificate files make `listen_addr` serve TLS.
            let key = if settings.listeners.http.is_some() { "tls_listen_addr" } else { "listen_addr" };
            sockets.tls.push(held.take_or_bind(&addr, key, moves).await?);
        }
        if settings.listeners.needs_tls_443 {
            sockets.tls.extend(bind_443(&mut held, &settings.listeners).await);
        }
        if let Some(addr) = &settings.listeners.metrics {
            sockets.metrics = Some(held.take_or_bind(addr, "metrics_listen_addr", moves).await?);
        }
        if let Some(derp) = &settings.derp.server {
            let addr = &derp.stun_listen;
            sockets.stun =
                first_free(addr, moves, async |candidate| stun::bind(candidate)).await.map_err(|error| {
                    format!(
                        "cannot listen for STUN on `{addr}`: {}",
                        advice(&error, "derp.server.stun_listen_addr")
                    )
                })?;
        }
        held.warn_of_unused();
        Ok(sockets)
    }

    /// The DERP region of the embedded relay, with the ports that were actually bound.
    pub fn relay_region(&self, settings: &Config, pin: Option<String>) -> Option<DerpRegion> {
        let server = settings.derp.server.as_ref()?;
        // Not the extra listener on port 443, which exists only for clients that reconnect.
        let tls = settings
            .listeners
            .tls
            .as_ref()
            .and(self.tls.first())
            .and_then(|l| l.local_addr().ok())
            .map(|a| a.port());
        let stun =
            self.stun.first().and_then(|s| s.local_addr().ok()).map_or(server.stun_listen.port, |a| a.port());
        Some(derp_map::embedded_region(server, &RelayAddress::of(settings, tls, stun, pin)))
    }

    /// Spawns the tasks that serve all sockets, with at most `connections` concurrent client connections.
    pub fn serve(
        self,
        connections: usize,
        app: &App,
        settings: &Config,
        certificates: Option<&Arc<Certificates>>,
        tasks: &mut JoinSet<io::Result<()>>,
    ) -> Result<(), ServeError> {
        let service = Service::new(http::public(app.clone()), app.process.relay.clone(), connections);
        let seats = service.seats();
        let acceptor =
            certificates.map(|c| tls::server_config(c.clone())).transpose()?.map(TlsAcceptor::from);
        for listener in self.http {
            tracing::info!("listening for HTTP on {}", listener.local_addr()?);
            let tls = acceptor.clone().filter(|_| settings.listeners.http_offers_tls);
            let tls = tls.map_or(Tls::No, Tls::Offered);
            tasks.spawn(forever(listen::accept(listener, tls, service.clone())));
        }
        if let Some(acceptor) = acceptor {
            for listener in self.tls {
                tracing::info!("listening for TLS on {}", listener.local_addr()?);
                tasks.spawn(forever(listen::accept(listener, Tls::Only(acceptor.clone()), service.clone())));
            }
        }
        let counts = Arc::new(stun::Counts::default());
        if let Some(listener) = self.metrics {
            tracing::info!("serving metrics on {}", listener.local_addr()?);
            let service =
                Service::new(metrics::routes(app.clone(), counts.clone(), seats), None, METRICS_CONNECTIONS);
            tasks.spawn(forever(listen::accept(listener, Tls::No, service)));
        }
        for socket in self.stun {
            tracing::info!("answering STUN on {}", socket.local_addr()?);
            tasks.spawn(stun::serve(socket, counts.clone()));
        }
        Ok(())
    }
}

/// TCP listeners that a service manager holds for us (systemd.socket(5)): while the server restarts, clients wait in
/// their backlog instead of being refused.
struct Held(Vec<TcpListener>);

impl Held {
    fn find() -> Held {
        let mut passed = listenfd::ListenFd::from_env();
        let listeners = (0..passed.len()).filter_map(|index| match passed.take_tcp_listener(index) {
            Ok(listener) => {
                let listener = listener?;
                listener.set_nonblocking(true).ok()?;
                TcpListener::from_std(listener).ok()
            }
            Err(error) => {
                tracing::warn!("cannot use socket {index} of the service manager: {error}");
                None
            }
        });
        Held(listeners.collect())
    }

    /// The listener that is held for this port, or a new one.
    async fn take_or_bind(
        &mut self,
        addr: &ListenAddr,
        key: &str,
        may_move: bool,
    ) -> Result<TcpListener, ServeError> {
        let bound = match self.take(addr) {
            Some(listener) => Ok(listener),
            None => first_free(addr, may_move, async |candidate| TcpListener::bind(candidate).await).await,
        };
        bound.map_err(|error| format!("cannot listen on `{addr}`: {}", advice(&error, key)).into())
    }

    fn take(&mut self, addr: &ListenAddr) -> Option<TcpListener> {
        let at_port = |l: &TcpListener| l.local_addr().is_ok_and(|held| held.port() == addr.port);
        Some(self.0.swap_remove(self.0.iter().position(at_port)?))
    }

    fn warn_of_unused(self) {
        for addr in self.0.iter().filter_map(|l| l.local_addr().ok()) {
            tracing::warn!("the service manager passed a socket for `{addr}`, but no setting uses that port");
        }
    }
}

/// Adapts a task that never ends to the type of tasks that can fail.
pub(crate) async fn forever(task: impl Future<Output = ()>) -> io::Result<()> {
    task.await;
    Ok(())
}

/// Binds the first address that is free, with `may_move` also on one of the next ports. The error is that of the
/// configured port.
async fn first_free<T>(
    addr: &ListenAddr,
    may_move: bool,
    bind: impl AsyncFn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for step in 0..if may_move { PORTS_TO_TRY } else { 1 } {
        let Some(port) = addr.port.checked_add(step) else { break };
        for candidate in addr.with_port(port).candidates()? {
            match bind(candidate).await {
                Ok(bound) => return Ok(bound),
                Err(error) if step == 0 => failure = error,
                Err(_) => {}
            }
        }
    }
    Err(failure)
}

/// Why the address in the setting `key` cannot be bound, and what to do about it.
fn advice(error: &io::Error, key: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("the address is in use; stop the program that uses it, or change `{key}`")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("this machine does not have that address; add it, or change `{key}`")
        }
        io::ErrorKind::PermissionDenied => format!(
            "permission denied; allow ports below 1024 with `CAP_NET_BIND_SERVICE`, or change `{key}`"
        ),
        _ => format!("{error}; change `{key}`"),
    }
}

/// After an outage, clients reconnect to a name or a public address on port 443 only. If we cannot listen there, they
/// stay offline, so the administrator must know.
async fn bind_443(held: &mut Held, listeners: &Listeners) -> Option<TcpListener> {
    let host = listeners.http.as_ref().map_or(String::new(), |h| h.host.clone());
    let addr = ListenAddr { host, port: 443 };
    match held.take_or_bind(&addr, "listen_addr", false).await {
        Ok(listener) => Some(listener),
        Err(error) => {
            tracing::warn!(
                "{error}. After an outage, clients reconnect only through TLS on port 443, and will stay offline: \
                 allow port 443, run a TLS proxy there, or use a private address in `server_url`"
            );
            None
        }
    }
}

/// The unix socket on which the command line reaches the server.
pub(crate) struct LocalSocket {
    path: PathBuf,
    /// Device and inode number, to tell whether another server has replaced the file by the time this one stops.
    file: (u64, u64),
}

impl LocalSocket {
    /// Opens the socket, replacing one that a crashed server left behind.
    ///
    /// # Errors
    /// Another server listens there, or the file is not a socket. It is then left alone.
    pub fn open(path: &Path, mode: u32) -> Result<(LocalSocket, UnixListener), ServeError> {
        let failed = |e: io::Error| format!("cannot open the socket `{}`: {e}", path.display());
        if let Some(dir) = path.parent().filter(|d| !d.exists()) {
            files::private_dir(dir).map_err(failed)?;
        }
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                let text = "the file exists and is not a socket; set `unix_socket` to another path";
                return Err(failed(io::Error::other(text)).into());
            }
            Ok(_) if UnixStream::connect(path).is_ok() => {
                let text = "another server is listening on it; set `unix_socket` to another path";
                return Err(failed(io::Error::other(text)).into());
            }
            Ok(_) => std::fs::remove_file(path).map_err(failed)?,
            Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
        let found = std::fs::symlink_metadata(path).map_err(failed)?;
        Ok((LocalSocket { path: path.to_owned(), file: (found.dev(), found.ino()) }, listener))
    }

    /// Deletes the file, if it is still ours.
    pub fn remove(&self) {
        let ours = |m: std::fs::Metadata| (m.dev(), m.ino()) == self.file;
        if std::fs::symlink_metadata(&self.path).is_ok_and(ours) {
            // A file that remains is replaced at the next startup.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_an_error_that_names_the_setting_unless_ports_may_move() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = ListenAddr { host: "127.0.0.1".into(), port: taken.local_addr().unwrap().port() };
        let mut held = Held(Vec::new());
        let error = held.take_or_bind(&addr, "listen_addr", false).await.unwrap_err().to_string();
        let expected = format!(
            "cannot listen on `{addr}`: the address is in use; stop the program that uses it, or change `listen_addr`"
        );
        assert_eq!(error, expected);
        let moved = held.take_or_bind(&addr, "listen_addr", true).await.unwrap();
        assert_ne!(moved.local_addr().unwrap().port(), addr.port);
    }

    #[tokio::test]
    async fn the_error_is_that_of_the_configured_port() {
        let addr = ListenAddr { host: "127.0.0.1".into(), port: 65_530 };
        let tried = std::cell::RefCell::new(Vec::new());
        let failed = first_free(&addr, true, async |candidate: SocketAddr| {
            tried.borrow_mut().push(candidate.port());
            Err::<(), _>(io::Error::other(candidate.port().to_string()))
        });
        assert_eq!(failed.await.unwrap_err().to_string(), "65530");
        assert_eq!(tried.into_inner(), (65_530..=65_535).collect::<Vec<_>>());
    }

    #[test]
    fn every_advice_names_the_setting() {
        for (kind, expected) in [
            (io::ErrorKind::AddrNotAvailable, "does not have that address"),
            (io::ErrorKind::PermissionDenied, "CAP_NET_BIND_SERVICE"),
            (io::ErrorKind::OutOfMemory, "out of memory"),
        ] {
            let text = advice(&kind.into(), "tls_listen_addr");
            assert!(text.contains(expected) && text.ends_with("change `tls_listen_addr`"), "{text}");
        }
    }
}
