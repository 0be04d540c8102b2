//! What every connection is served with, once TLS is off: the relay or the HTTP server, and how many there may be.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use axum::middleware::from_fn;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt;

use super::classify::{Accepts, Connection};
use super::read_ahead::{self, Rewound};
use super::slow_body::TimedBody;
use super::{Error, HEAD_TIMEOUT, host};
use crate::relay::Relay;

/// Longest head of a request in HTTP/1, in bytes, and what a connection reads ahead of its handlers.
const MAX_HEAD: usize = 64 * 1024;

/// A connection's place among those that a [`Service`] takes at once. A handler that takes a connection over from HTTP holds
/// the place for as long as it serves it.
#[derive(Clone)]
pub struct Seat(#[expect(dead_code, reason = "held, not read")] Arc<OwnedSemaphorePermit>);

/// What every connection is served with. All listeners of one service count their connections together.
#[derive(Clone)]
pub struct Service {
    router: Router,
    /// Serves clients that skip the HTTP response.
    relay: Option<Relay>,
    permits: Arc<Semaphore>,
}

impl Service {
    /// Serves `router`, and `relay` to clients that skip the HTTP response, on at most this many connections at once.
    pub fn new(router: Router, relay: Option<Relay>, connections: usize) -> Service {
        let router = router.layer(from_fn(host::check));
        Service { router, relay, permits: Arc::new(Semaphore::new(connections)) }
    }

    /// Waits for a free place.
    pub(super) async fn seat(&self) -> Option<Seat> {
        let permit = self.permits.clone().acquire_owned().await.ok()?;
        Some(Seat(Arc::new(permit)))
    }

    /// Serves one connection, TLS taken off, until it ends or is taken over.
    pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self,
        stream: S,
        remote: SocketAddr,
        seat: Seat,
    ) -> Result<(), Error> {
        let accepts = Accepts { tls: false, derp: self.relay.is_some() };
        let classified = tokio::time::timeout(HEAD_TIMEOUT, read_ahead::classify(stream, accepts));
        match (classified.await??, self.relay) {
            ((Connection::DerpFastStart { head }, stream), Some(relay)) => {
                // A task of its own, so that a relay connection doesn't keep the memory in which an HTTP one would be served.
                tokio::spawn(async move {
                    relay.serve_stream(stream.without(head), remote).await;
                    drop(seat);
                });
                Ok(())
            }
            ((_, stream), _) => serve_http(stream, self.router, remote, seat).await,
        }
    }
}

async fn serve_http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: Rewound<S>,
    router: Router,
    remote: SocketAddr,
    seat: Seat,
) -> Result<(), Error> {
    let router = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(remote));
        request.extensions_mut().insert(seat.clone());
        request.map(|body| Body::new(TimedBody::new(body)))
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Some clients close their side after the request, and still want the response.
    let http1 = &mut builder.http1();
    http1.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).half_close(true).max_buf_size(MAX_HEAD);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(HEAD_TIMEOUT));
    builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(router)).await
}

#[cfg(test)]
impl Service {
    pub(super) fn free_seats(&self) -> usize {
        self.permits.available_permits()
    }
}
