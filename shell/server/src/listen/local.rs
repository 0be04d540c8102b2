//! The unix socket of the command line.

use axum::Router;
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
        let service = TowerToHyperService::new(router.clone());
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
