//! Road 1: where connections come in. Plain and TLS listeners, and the socket of the command line.

pub mod unread;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use headsail_tailnet::actor::Actor;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::relay::Relay;

/// How long a TLS handshake may take.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the head of a request may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A peer that acknowledges nothing for this long is gone: a pulled cable shows.
const USER_TIMEOUT: Duration = Duration::from_secs(20);
/// A silent connection is probed after this long, and this often.
const PROBE_AFTER: Duration = Duration::from_secs(25);
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// How long the body of a request may take to arrive, from the first look at it on.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the other side may take to switch protocols.
pub(crate) const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
/// The words with which an HTTP/2 client begins (RFC 9113, 3.4).
pub(crate) const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longest head of a request that is read ahead.
const MAX_HEAD: usize = 8 * 1024;
/// Pause after the system refused a connection, as when it has no memory for one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A connection's place among those that a [`Service`] takes at once. Whoever takes a connection over from HTTP holds it as long as that.
#[derive(Clone)]
pub struct Seat(#[expect(dead_code, reason = "held, not read")] Arc<OwnedSemaphorePermit>);

/// What every connection is served with. All listeners of one service count their connections together.
#[derive(Clone)]
pub struct Service {
    /// Pages and endpoints.
    pub router: Router,
    /// The relay, where one runs: it takes connections before HTTP answers anything.
    pub relay: Option<Relay>,
    permits: Arc<Semaphore>,
}

impl Service {
    /// Serves `router`, and `relay` where a client skips the HTTP answer, on so many connections at once.
    pub fn new(router: Router, relay: Option<Relay>, connections: usize) -> Service {
        Service { router, relay, permits: Arc::new(Semaphore::new(connections)) }
    }
}

/// Whether a listener speaks TLS.
#[derive(Clone)]
pub enum Tls {
    /// Never.
    No,
    /// With clients that begin with it, and plainly with all others.
    Offered(TlsAcceptor),
    /// Always.
    Only(TlsAcceptor),
}

/// Accepts connections for ever.
pub async fn accept(listener: TcpListener, tls: Tls, service: Service) {
    let mut outage = Outage::default();
    loop {
        match listener.accept().await {
            Ok((socket, remote)) => {
                outage.ends();
                let Ok(permit) = service.permits.clone().acquire_owned().await else { return };
                let (tls, service) = (tls.clone(), service.clone());
                tokio::spawn(async move {
                    if let Err(error) = connection(socket, remote, tls, service, permit).await {
                        tracing::debug!("a connection from {remote} ended: {error}");
                    }
                });
            }
            Err(error) => outage.goes_on(&error).await,
        }
    }
}

/// Whether the system refuses connections at the moment, so that it is said once.
#[derive(Default)]
struct Outage(bool);

impl Outage {
    async fn goes_on(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.0, true) {
            tracing::warn!("connections can't be accepted, this goes on trying: {error}");
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }

    fn ends(&mut self) {
        if std::mem::take(&mut self.0) {
            tracing::info!("connections are accepted again");
        }
    }
}

async fn connection(
    socket: TcpStream,
    remote: SocketAddr,
    tls: Tls,
    service: Service,
    permit: OwnedSemaphorePermit,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    tune(&socket)?;
    let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
    let acceptor = match tls {
        Tls::No => None,
        Tls::Only(acceptor) => Some(acceptor),
        Tls::Offered(acceptor) => {
            let begins = tokio::time::timeout(HEAD_TIMEOUT, begins_with_tls(&socket)).await??;
            begins.then_some(acceptor)
        }
    };
    match acceptor {
        None => serve(socket, remote, service, permit).await,
        Some(acceptor) => {
            let stream = tokio::time::timeout(TLS_TIMEOUT, acceptor.accept(socket)).await??;
            serve(stream, remote, service, permit).await
        }
    }
}

/// Whether the first byte is that of a TLS handshake (RFC 8446, 5.1), which no HTTP method begins with. It stays unread.
async fn begins_with_tls(socket: &TcpStream) -> io::Result<bool> {
    const HANDSHAKE: u8 = 22;
    let mut first = [0; 1];
    Ok(socket.peek(&mut first).await? == 1 && first == [HANDSHAKE])
}

fn tune(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    mut stream: S,
    remote: SocketAddr,
    service: Service,
    permit: OwnedSemaphorePermit,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let relays = service.relay.is_some();
    let head = tokio::time::timeout(HEAD_TIMEOUT, first_words(&mut stream, relays)).await??;
    let stream = Rewound { head, taken: 0, stream };
    if let Some(relay) = service.relay.filter(|_| wants_fast_start(&stream.head)) {
        // A task of its own, so that a relay connection doesn't keep the memory in which an HTTP one would be served.
        tokio::spawn(async move {
            relay.serve_stream(stream.past_head(), remote).await;
            drop(permit);
        });
        return Ok(());
    }
    let seat = Seat(Arc::new(permit));
    let router =
        service.router.map_request(move |mut request: axum::http::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(ConnectInfo(remote));
            request.extensions_mut().insert(seat.clone());
            request.map(|body| axum::body::Body::new(Timely { body, late: None }))
        });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Some close their side when they have asked, and still want the answer.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).half_close(true);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(HEAD_TIMEOUT));
    builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(router)).await
}

/// Reads ahead until it shows what is spoken: all of the head of what may be a request to relay, all of the preface of
/// what may be HTTP/2, and no more than the first bytes else.
async fn first_words<S: AsyncRead + Unpin>(stream: &mut S, relays: bool) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut chunk = [0u8; 2048];
    while is_undecided(&head, relays) {
        match stream.read(&mut chunk).await? {
            0 => break,
            n => head.extend_from_slice(chunk.get(..n).unwrap_or_default()),
        }
    }
    Ok(head)
}

fn is_undecided(head: &[u8], relays: bool) -> bool {
    const RELAY: &[u8] = b"GET /derp ";
    let may_relay = relays && (RELAY.starts_with(head) || head.starts_with(RELAY));
    let may_be_http2 = head.len() < HTTP2_PREFACE.len() && HTTP2_PREFACE.starts_with(head);
    may_be_http2 || (may_relay && head.len() < MAX_HEAD && end_of_head(head).is_none())
}

fn end_of_head(head: &[u8]) -> Option<usize> {
    head.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4)
}

/// Whether a head asks for the relay without an HTTP answer (derp/derphttp, `Derp-Fast-Start`).
fn wants_fast_start(head: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(_)) = request.parse(head) else { return false };
    let has = |name: &str, value: &[u8]| {
        request
            .headers
            .iter()
            .any(|h| h.name.eq_ignore_ascii_case(name) && h.value.eq_ignore_ascii_case(value))
    };
    request.path == Some("/derp") && has("Derp-Fast-Start", b"1") && has("Upgrade", b"derp")
}

/// A body that breaks off where it takes too long, however it drips: a stranger's request holds no connection for ever.
struct Timely {
    body: hyper::body::Incoming,
    /// Runs since the body was first waited for.
    late: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl hyper::body::Body for Timely {
    type Data = bytes::Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<bytes::Bytes>, axum::BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|f| f.map_err(Into::into)));
        }
        let late = self.late.get_or_insert_with(|| Box::pin(tokio::time::sleep(BODY_TIMEOUT)));
        ready!(late.as_mut().poll(cx));
        Poll::Ready(Some(Err(TooSlow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request did not arrive in [`BODY_TIMEOUT`].
#[derive(Debug)]
pub struct TooSlow;

impl std::fmt::Display for TooSlow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the request took too long to arrive")
    }
}

impl std::error::Error for TooSlow {}

/// A stream whose first bytes were read ahead.
struct Rewound<S> {
    head: Vec<u8>,
    taken: usize,
    stream: S,
}

impl<S> Rewound<S> {
    /// The same stream without the head of the request that was read ahead.
    fn past_head(mut self) -> Rewound<S> {
        self.taken = end_of_head(&self.head).unwrap_or(self.head.len());
        self
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.head.get(this.taken..) {
            Some(rest) if !rest.is_empty() => {
                let n = rest.len().min(out.remaining());
                out.put_slice(rest.get(..n).unwrap_or_default());
                this.taken += n;
                if this.taken == this.head.len() {
                    this.head = Vec::new();
                    this.taken = 0;
                }
                Poll::Ready(Ok(()))
            }
            _ => Pin::new(&mut this.stream).poll_read(cx, out),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, data)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Accepts connections of the command line for ever.
pub async fn accept_local(listener: UnixListener, router: Router) {
    let mut outage = Outage::default();
    loop {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                outage.goes_on(&error).await;
                continue;
            }
        };
        outage.ends();
        // The kernel knows who has connected, unless that process has gone already.
        let Ok(peer) = socket.peer_cred() else { continue };
        let caller = Actor::UnixUser(peer.uid());
        let service = TowerToHyperService::new(router.clone().layer(Extension(caller)));
        tokio::spawn(async move {
            let served = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(socket), service)
                .await;
            if let Err(error) = served {
                tracing::debug!("a local connection ended: {error}");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;

    use super::*;
    use tokio::io::AsyncWriteExt;

    async fn asks(client: &mut TcpStream) {
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    }

    async fn is_answered(client: &mut TcpStream) {
        let mut line = [0; 12];
        client.read_exact(&mut line).await.unwrap();
        assert_eq!(&line, b"HTTP/1.1 200");
    }

    #[tokio::test]
    async fn connections_count_over_all_listeners() {
        let one = Service::new(Router::new().route("/", get(|| async { "" })), None, 1);
        let mut clients = Vec::new();
        for service in [one.clone(), one.clone()] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            tokio::spawn(accept(listener, Tls::No, service));
            clients.push(TcpStream::connect(addr).await.unwrap());
            // The first is served before the second comes.
            if let [first] = clients.as_mut_slice() {
                asks(first).await;
                is_answered(first).await;
            }
        }
        assert_eq!(one.permits.available_permits(), 0);
        let (mut second, first) = (clients.pop().unwrap(), clients.pop());
        asks(&mut second).await;
        let answered = tokio::time::timeout(Duration::from_millis(200), is_answered(&mut second)).await;
        assert!(answered.is_err(), "there is one place, and it is taken");
        drop(first);
        is_answered(&mut second).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_lasts_until_something_is_accepted() {
        let mut outage = Outage::default();
        let full = io::Error::from_raw_os_error(24);
        outage.goes_on(&full).await;
        outage.goes_on(&full).await;
        assert!(outage.0);
        outage.ends();
        assert!(!outage.0);
    }
}
