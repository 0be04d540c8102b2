//! The unix socket of the command line.

use axum::{Extension, Router};
use headsail_tailnet::actor::Actor;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::UnixListener;

use super::outage::Outage;

/// Accepts connections of the command line for ever.
pub async fn accept(listener: UnixListener, router: Router) {
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
        // The kernel knows which user connected, unless that process is gone already.
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
