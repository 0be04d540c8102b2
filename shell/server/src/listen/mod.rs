//! Road 1: where connections come in. Plain and TLS listeners, and the socket of the command line.
//!
//! [`classify`] decides what a connection is. TLS is taken off here; [`service`] hands what is inside to the relay or to the
//! HTTP server.

pub mod classify;
mod host;
pub mod local;
mod outage;
mod read_ahead;
mod seats;
mod service;
mod slow_body;
mod take_over;
mod tcp;
pub mod unread;
pub mod websocket;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use outage::Outage;
pub use seats::{Seat, Seats};
pub use service::Service;
pub(crate) use slow_body::{BODY_TIMEOUT, TooSlow};
pub use take_over::take_over;

/// How long a TLS handshake may take.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the head of a request may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Whether a listener speaks TLS.
#[derive(Clone)]
pub enum Tls {
    No,
    /// With clients that begin with it, and plainly with all others.
    Offered(TlsAcceptor),
    /// With every client.
    Only(TlsAcceptor),
}

/// Accepts connections for ever.
pub async fn accept(listener: TcpListener, tls: Tls, service: Service) {
    let mut outage = Outage::default();
    loop {
        match listener.accept().await {
            Ok((socket, remote)) => {
                outage.ends();
                let seat = service.seat(remote.ip()).await;
                let (tls, service) = (tls.clone(), service.clone());
                tokio::spawn(async move {
                    let served = tokio::select! {
                        served = connection(socket, remote, tls, service, seat.clone()) => served,
                        () = seat.gives_way() => Err("it had to make room".into()),
                    };
                    if let Err(error) = served {
                        tracing::debug!("a connection from {remote} ended: {error}");
                    }
                });
            }
            Err(error) => outage.goes_on(&error).await,
        }
    }
}

async fn connection(
    socket: TcpStream,
    remote: SocketAddr,
    tls: Tls,
    service: Service,
    seat: Seat,
) -> Result<(), Error> {
    tcp::tune(&socket)?;
    let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
    let acceptor = match tls {
        Tls::No => None,
        Tls::Only(acceptor) => Some(acceptor),
        Tls::Offered(acceptor) => {
            let begins = timeout(HEAD_TIMEOUT, read_ahead::begins_with_tls(&socket)).await??;
            begins.then_some(acceptor)
        }
    };
    match acceptor {
        None => service.serve(socket, remote, seat).await,
        Some(acceptor) => {
            let stream = timeout(TLS_TIMEOUT, acceptor.accept(socket)).await??;
            seat.advances();
            service.serve(stream, remote, seat).await
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn asks(client: &mut TcpStream) {
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    }

    async fn is_answered(client: &mut TcpStream) {
        let mut line = [0; 12];
        client.read_exact(&mut line).await.unwrap();
        assert_eq!(&line, b"HTTP/1.1 200");
    }

    #[tokio::test]
    async fn all_listeners_of_a_service_share_its_limit_of_connections() {
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
        assert_eq!(one.free_seats(), 0);
        let (mut second, first) = (clients.pop().unwrap(), clients.pop());
        asks(&mut second).await;
        let answered = timeout(Duration::from_millis(200), is_answered(&mut second)).await;
        assert!(answered.is_err(), "there is one place, and it is taken");
        drop(first);
        is_answered(&mut second).await;
    }
}
