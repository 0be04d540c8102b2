//! Hands a connection from HTTP to the protocol that it switches to.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;

use super::Seat;

/// How long the other side may take to switch protocols.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves the connection of a request in a task of its own, once the response to it has been sent. The connection keeps
/// its place among those that are served at once for as long as that takes.
pub fn take_over<F>(request: &mut Request<Body>, serve: impl FnOnce(TokioIo<Upgraded>) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send,
{
    let seat = request.extensions().get::<Seat>().cloned();
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let served = async {
            if let Ok(Ok(connection)) = tokio::time::timeout(UPGRADE_TIMEOUT, upgraded).await {
                serve(TokioIo::new(connection)).await;
            }
        };
        match seat {
            None => served.await,
            Some(seat) => tokio::select! {
                () = served => {}
                () = seat.gives_way() => {}
            },
        }
    });
}
