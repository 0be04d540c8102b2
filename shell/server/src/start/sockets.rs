//! What the server listens on: bound before anything is served, so that a taken port stops the start.

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
use crate::config::{ListenAddr, Listeners, Settings};
use crate::derp_map::{self, RelayAddress};
use crate::http;
use crate::http::metrics;
use crate::listen::{self, Service, Tls};
use crate::relay::stun;
use crate::start::ServeError;
use crate::system::files;
use crate::tls::{self, Certificates};

/// Connections to the metrics at once. They count apart, so that clients in great numbers don't hide what is wrong.
const FOR_METRICS: usize = 16;
/// How many ports are tried where one is taken and may move.
const PORTS_TO_TRY: u16 = 20;

/// Everything that is bound before anything is served.
pub(crate) struct Sockets {
    http: Vec<TcpListener>,
    pub tls: Vec<TcpListener>,
    stun: Vec<UdpSocket>,
    metrics: Option<TcpListener>,
}

impl Sockets {
    /// Binds all listeners; where a port of the built-in defaults is taken the next free one is used, and the settings
    /// say so.
    pub async fn open(settings: &mut Settings) -> Result<Sockets, ServeError> {
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
            // Own certificate files make `listen_addr` speak TLS.
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
                        "cannot answer STUN on `{addr}`: {}",
                        advice(&error, "derp.server.stun_listen_addr")
                    )
                })?;
        }
        held.warn_of_the_rest();
        Ok(sockets)
    }

    /// The region of our own relay, at the ports that were really bound.
    pub fn relay_region(&self, settings: &Settings, pin: Option<String>) -> Option<DerpRegion> {
        let server = settings.derp.server.as_ref()?;
        // A listener on port 443 for lost clients may be there besides, and is not for the relay.
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

    /// Serves on all of them; `connections` is how many there may be at once.
    pub fn serve(
        self,
        connections: usize,
        app: &App,
        settings: &Settings,
        certificates: Option<&Arc<Certificates>>,
        tasks: &mut JoinSet<io::Result<()>>,
    ) -> Result<(), ServeError> {
        let service = Service::new(http::public(app.clone()), app.process.relay.clone(), connections);
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
            tracing::info!("showing metrics on {}", listener.local_addr()?);
            let service = Service::new(metrics::routes(app.clone(), counts.clone()), None, FOR_METRICS);
            tasks.spawn(forever(listen::accept(listener, Tls::No, service)));
        }
        for socket in self.stun {
            tracing::info!("answering STUN on {}", socket.local_addr()?);
            tasks.spawn(stun::serve(socket, counts.clone()));
        }
        Ok(())
    }
}

/// TCP listeners that a service manager holds for us (systemd.socket(5)): while the server restarts, or after it crashed,
/// clients wait in their queue instead of being refused.
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
                tracing::warn!("socket {index} of the service manager is of no use here: {error}");
                None
            }
        });
        Held(listeners.collect())
    }

    /// The listener that is held at this port, or a new one.
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

    fn warn_of_the_rest(self) {
        for addr in self.0.iter().filter_map(|l| l.local_addr().ok()) {
            tracing::warn!("the service manager holds `{addr}`, and nothing is configured to listen there");
        }
    }
}

/// A task that never ends by itself, in the shape of one that may fail.
pub(crate) async fn forever(task: impl Future<Output = ()>) -> io::Result<()> {
    task.await;
    Ok(())
}

/// What `bind` makes of the first address that it can have; where `may_move`, also at one of the next ports. The error is
/// that of the configured port.
async fn first_free<T>(
    addr: &ListenAddr,
    may_move: bool,
    bind: impl AsyncFn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "it has no address");
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

/// Why a place can't be had that the setting `key` names, and what to do about it.
fn advice(error: &io::Error, key: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!("in use; stop the program that has it, or set `{key}`"),
        io::ErrorKind::AddrNotAvailable => {
            format!("this machine has no such address; give it one, or set `{key}`")
        }
        io::ErrorKind::PermissionDenied => format!(
            "the system forbids it; allow ports below 1024 with `CAP_NET_BIND_SERVICE`, or set `{key}`"
        ),
        _ => format!("{error}; set `{key}`"),
    }
}

/// Clients redial a name or a public address on port 443 only. Without the right to listen there they stay away after
/// the first outage, so the operator must know.
async fn bind_443(held: &mut Held, listeners: &Listeners) -> Option<TcpListener> {
    let host = listeners.http.as_ref().map_or(String::new(), |h| h.host.clone());
    let addr = ListenAddr { host, port: 443 };
    match held.take_or_bind(&addr, "listen_addr", false).await {
        Ok(listener) => Some(listener),
        Err(error) => {
            tracing::warn!(
                "{error}; clients that lose this server will look for it with TLS on port 443 and not come back: \
                 allow port 443, put a TLS proxy there, or use a private address as server_url"
            );
            None
        }
    }
}

/// The socket of the command line on this machine.
pub(crate) struct LocalSocket {
    path: PathBuf,
    /// Device and number of the file: it may be another server's by the time this one stops.
    file: (u64, u64),
}

impl LocalSocket {
    /// Listens there, in place of a socket that a server has left over.
    ///
    /// # Errors
    /// Another server answers there, or something else than a socket lies there: it is left alone.
    pub fn open(path: &Path, mode: u32) -> Result<(LocalSocket, UnixListener), ServeError> {
        let failed = |e: io::Error| format!("cannot open the socket `{}`: {e}", path.display());
        if let Some(dir) = path.parent().filter(|d| !d.exists()) {
            files::private_dir(dir).map_err(failed)?;
        }
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                let text = "there is a file that is no socket; set `unix_socket` to another path";
                return Err(failed(io::Error::other(text)).into());
            }
            Ok(_) if UnixStream::connect(path).is_ok() => {
                let text = "another server answers there; set `unix_socket` to another path";
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

    /// Takes it away, if it is still ours.
    pub fn remove(&self) {
        let ours = |m: std::fs::Metadata| (m.dev(), m.ino()) == self.file;
        if std::fs::symlink_metadata(&self.path).is_ok_and(ours) {
            // A file that stays is taken away by the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_named_as_configured_with_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = ListenAddr { host: "127.0.0.1".into(), port: taken.local_addr().unwrap().port() };
        let mut held = Held(Vec::new());
        let error = held.take_or_bind(&addr, "listen_addr", false).await.unwrap_err().to_string();
        let told =
            format!("cannot listen on `{addr}`: in use; stop the program that has it, or set `listen_addr`");
        assert_eq!(error, told);
        let moved = held.take_or_bind(&addr, "listen_addr", true).await.unwrap();
        assert_ne!(moved.local_addr().unwrap().port(), addr.port);
    }

    #[tokio::test]
    async fn the_failure_is_that_of_the_configured_port() {
        let addr = ListenAddr { host: "127.0.0.1".into(), port: 65_530 };
        let tried = std::cell::RefCell::new(Vec::new());
        let failed = first_free(&addr, true, async |candidate: SocketAddr| {
            tried.borrow_mut().push(candidate.port());
            Err::<(), _>(io::Error::other(candidate.port().to_string()))
        });
        assert_eq!(failed.await.unwrap_err().to_string(), "65530");
        assert_eq!(tried.into_inner(), (65_530..=65_535).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn names_without_an_address_and_odd_faults_name_the_setting() {
        for (kind, told) in [
            (io::ErrorKind::AddrNotAvailable, "no such address"),
            (io::ErrorKind::PermissionDenied, "CAP_NET_BIND_SERVICE"),
            (io::ErrorKind::OutOfMemory, "out of memory"),
        ] {
            let text = advice(&kind.into(), "tls_listen_addr");
            assert!(text.contains(told) && text.ends_with("set `tls_listen_addr`"), "{text}");
        }
    }
}
