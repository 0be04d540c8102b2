//! What the server listens on: bound before anything is served, so that a taken port stops the start.

use std::fs::Permissions;
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headsail_wire::derp_map::DerpRegion;
use tokio::net::{TcpListener, UdpSocket, UnixListener};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::app::{App, ServeError};
use crate::config::{ListenAddr, Listeners, Settings};
use crate::derp_map::{self, RelayAddress};
use crate::listen::{self, Service, Tls};
use crate::relay::stun;
use crate::tls::{self, Certificates};
use crate::{files, http, metrics};

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
            let listener = held.take_or_bind(&addr, moves).await?;
            let port = listener.local_addr()?.port();
            if port != addr.port {
                settings.server_url.set_port(port);
            }
            sockets.http.push(listener);
        }
        if let Some(addr) = settings.listeners.tls.clone() {
            sockets.tls.push(held.take_or_bind(&addr, moves).await?);
        }
        if settings.listeners.needs_tls_443 {
            sockets.tls.extend(bind_443(&mut held, &settings.listeners).await);
        }
        if let Some(addr) = &settings.listeners.metrics {
            sockets.metrics = Some(held.take_or_bind(addr, moves).await?);
        }
        if let Some(derp) = &settings.derp.server {
            sockets.stun = bind_stun(&derp.stun_listen, moves)?;
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

    pub fn serve(
        self,
        app: &Arc<App>,
        certificates: Option<&Arc<Certificates>>,
        tasks: &mut JoinSet<io::Result<()>>,
    ) -> Result<(), ServeError> {
        let service = Service::new(http::public(app.clone()), app.relay.clone());
        let acceptor =
            certificates.map(|c| tls::server_config(c.clone())).transpose()?.map(TlsAcceptor::from);
        for listener in self.http {
            tracing::info!("listening for HTTP on {}", listener.local_addr()?);
            let tls = acceptor.clone().filter(|_| app.settings.listeners.http_offers_tls);
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
            let service = Service::new(metrics::routes(app.clone(), counts.clone()), None);
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
    async fn take_or_bind(&mut self, addr: &ListenAddr, may_move: bool) -> Result<TcpListener, ServeError> {
        let at_port = |l: &TcpListener| l.local_addr().is_ok_and(|held| held.port() == addr.port);
        match self.0.iter().position(at_port) {
            Some(index) => Ok(self.0.swap_remove(index)),
            None => bind(addr, may_move).await,
        }
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

async fn bind(addr: &ListenAddr, may_move: bool) -> Result<TcpListener, ServeError> {
    let tries = if may_move { PORTS_TO_TRY } else { 1 };
    let mut failure = None;
    for step in 0..tries {
        let addr = addr.with_port(addr.port.saturating_add(step));
        for candidate in addr.candidates().map_err(|e| format!("cannot listen on `{addr}`: {e}"))? {
            match TcpListener::bind(candidate).await {
                Ok(listener) => return Ok(listener),
                Err(error) => failure = Some(format!("cannot listen on `{addr}`: {error}")),
            }
        }
    }
    Err(failure.unwrap_or_else(|| format!("cannot listen on `{addr}`: it has no address")).into())
}

/// Clients redial a name or a public address on port 443 only. Without the right to listen there they stay away after
/// the first outage, so the operator must know.
async fn bind_443(held: &mut Held, listeners: &Listeners) -> Option<TcpListener> {
    let host = listeners.http.as_ref().map_or(String::new(), |h| h.host.clone());
    let addr = ListenAddr { host, port: 443 };
    match held.take_or_bind(&addr, false).await {
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

fn bind_stun(addr: &ListenAddr, may_move: bool) -> Result<Vec<UdpSocket>, ServeError> {
    let tries = if may_move { PORTS_TO_TRY } else { 1 };
    let mut failure = String::from("it has no address");
    for step in 0..tries {
        let addr = addr.with_port(addr.port.saturating_add(step));
        for candidate in addr.candidates().map_err(|e| format!("cannot answer STUN on `{addr}`: {e}"))? {
            match stun::bind(candidate) {
                Ok(sockets) => return Ok(sockets),
                Err(error) => failure = error.to_string(),
            }
        }
    }
    Err(format!("cannot answer STUN on `{addr}`: {failure}").into())
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
