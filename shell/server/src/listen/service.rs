//! What every connection is served with, once TLS is off: the relay or the HTTP server, and how many there may be.

use std::net::{IpAddr, SocketAddr};
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
use tower::ServiceExt;

use super::classify::{Accepts, Connection};
use super::read_ahead::{self, Rewound};
use super::seats::{Seat, Seats};
use super::slow_body::TimedBody;
use super::{Error, HEAD_TIMEOUT, host};
use crate::relay::Relay;

/// Longest head of a request in HTTP/1, in bytes, and what a connection reads ahead of its handlers.
const MAX_HEAD: usize = 64 * 1024;

/// What every connection is served with. All listeners of one service count their connections together.
#[derive(Clone)]
pub struct Service {
    router: Router,
    /// Serves clients that skip the HTTP response.
    relay: Option<Relay>,
    seats: Arc<Seats>,
}

impl Service {
    /// Serves `router`, and `relay` to clients that skip the HTTP response, on at most this many connections at once.
    pub fn new(router: Router, relay: Option<Relay>, connections: usize) -> Service {
        let router = router.layer(from_fn(host::check));
        Service { router, relay, seats: Seats::new(connections) }
    }

    /// Waits for a place for a connection from this address.
    pub(super) async fn seat(&self, remote: IpAddr) -> Seat {
        self.seats.take(remote).await
    }

    /// The places that its connections share.
    pub fn seats(&self) -> Arc<Seats> {
        self.seats.clone()
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
                    tokio::select! {
                        _ = relay.serve_stream(stream.without(head), remote, || seat.recognise()) => {}
                        () = seat.gives_way() => {}
                    }
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
    let service = tower::service_fn(move |mut request: Request<Incoming>| {
        let busy = seat.busy();
        request.extensions_mut().insert(ConnectInfo(remote));
        request.extensions_mut().insert(seat.clone());
        let response = router.clone().oneshot(request.map(|body| Body::new(TimedBody::new(body))));
        async move {
            let response = response.await;
            drop(busy);
            response
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Some clients close their side after the request, and still want the response.
    let http1 = &mut builder.http1();
    http1.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).half_close(true).max_buf_size(MAX_HEAD);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(HEAD_TIMEOUT));
    builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service)).await
}

#[cfg(test)]
impl Service {
    pub(super) fn free_seats(&self) -> usize {
        self.seats.limit() - self.seats.taken()
    }
}
