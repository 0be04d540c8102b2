//! What the server listens on: bound before anything is served, so that a taken port stops the start.

use std::fs::Permissions;
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use headsail_wire::derp_map::DerpRegion;
use tokio::net::{TcpListener, UdpSocket, UnixListener};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::app::{App, ServeError};
use crate::config::{ListenAddr, Listeners, Settings};
use crate::derp_map::{self, RelayAddress};
use crate::listen::{self, Service};
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
        let mut sockets = Sockets { http: Vec::new(), tls: Vec::new(), stun: Vec::new(), metrics: None };
        if let Some(addr) = settings.listeners.http.clone() {
            let listener = bind(&addr, moves).await?;
            let port = listener.local_addr()?.port();
            if port != addr.port {
                settings.server_url.set_port(port);
            }
            sockets.http.push(listener);
        }
        if let Some(addr) = settings.listeners.tls.clone() {
            sockets.tls.push(bind(&addr, moves).await?);
        }
        if settings.listeners.needs_tls_443 {
            sockets.tls.extend(bind_443(&settings.listeners).await);
        }
        if let Some(addr) = &settings.listeners.metrics {
            sockets.metrics = Some(bind(addr, moves).await?);
        }
        if let Some(derp) = &settings.derp.server {
            sockets.stun = bind_stun(&derp.stun_listen, moves)?;
        }
        Ok(sockets)
    }

    /// The region of our own relay, at the ports that were really bound.
    pub fn relay_region(&self, settings: &Settings, pin: Option<String>) -> Option<DerpRegion> {
        let server = settings.derp.server.as_ref()?;
        let tls = self.tls.first().and_then(|l| l.local_addr().ok()).map(|a| a.port());
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
        for listener in self.http {
            tracing::info!("listening for HTTP on {}", listener.local_addr()?);
            tasks.spawn(forever(listen::accept(listener, None, service.clone())));
        }
        if let Some(certificates) = certificates {
            let acceptor = TlsAcceptor::from(tls::server_config(certificates.clone())?);
            for listener in self.tls {
                tracing::info!("listening for TLS on {}", listener.local_addr()?);
                tasks.spawn(forever(listen::accept(listener, Some(acceptor.clone()), service.clone())));
            }
        }
        let counts = Arc::new(stun::Counts::default());
        if let Some(listener) = self.metrics {
            tracing::info!("showing metrics on {}", listener.local_addr()?);
            let service = Service::new(metrics::routes(app.clone(), counts.clone()), None);
            tasks.spawn(forever(listen::accept(listener, None, service)));
        }
        for socket in self.stun {
            tracing::info!("answering STUN on {}", socket.local_addr()?);
            tasks.spawn(stun::serve(socket, counts.clone()));
        }
        Ok(())
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
async fn bind_443(listeners: &Listeners) -> Option<TcpListener> {
    let host = listeners.http.as_ref().map_or(String::new(), |h| h.host.clone());
    let addr = ListenAddr { host, port: 443 };
    match bind(&addr, false).await {
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

/// Opens the socket of the command line, in place of one that is left over.
pub(crate) fn open_unix_socket(path: &Path, mode: u32) -> Result<UnixListener, ServeError> {
    let failed = |e: io::Error| format!("cannot open the socket `{}`: {e}", path.display());
    if let Some(dir) = path.parent().filter(|d| !d.exists()) {
        files::private_dir(dir).map_err(failed)?;
    }
    // The lock of the database has shown that no other server runs here: what lies there is left over.
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e).into()),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
    Ok(listener)
}
