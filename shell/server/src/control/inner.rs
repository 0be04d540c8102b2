//! HTTP/2 inside a Noise connection: every request is authenticated by the connection's machine key.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use headsail_wire::ssh::ACTION_PATH;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::app::{App, TailnetService};
use crate::control::bodies::{Bodies, Budget};
use crate::control::connection::Connection;
use crate::control::reply::text;
use crate::control::{map, register, ssh_action};
use crate::listen::Seat;

/// Requests that a connection may have open at once.
const MAX_STREAMS: u32 = 256;
/// Requests without a response that a machine without a node may have on a connection: clients that log in have one or two.
const MAX_REQUESTS_OF_A_STRANGER: usize = 8;
/// Bytes that a connection may send before the requests that they belong to are read: the default of HTTP/2, because
/// requests are small.
const RECEIVE_WINDOW: u32 = 65_535;
/// A connection that sends nothing is pinged this often.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long it may take to answer a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes that a stream may have queued for sending.
const SEND_BUFFER: usize = 256 * 1024;

/// Serves requests until the connection ends.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    app: App,
    connection: Connection,
    io: S,
) {
    let connection = Arc::new(connection);
    connection.recognise(&app.tailnet);
    let (bodies, tailnet, this) = (app.process.bodies.clone(), app.tailnet.clone(), connection.clone());
    let service = service_fn(move |request| {
        let (tailnet, bodies, connection) = (tailnet.clone(), bodies.clone(), this.clone());
        async move {
            let head = request.method() == Method::HEAD;
            let mut response = answer(tailnet, &bodies, &connection, request).await;
            if head {
                *response.body_mut() = Body::empty();
            }
            Ok::<_, Infallible>(response)
        }
    });
    let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buf_size(SEND_BUFFER)
        .initial_stream_window_size(RECEIVE_WINDOW)
        .initial_connection_window_size(RECEIVE_WINDOW)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(TokioIo::new(io), service);
    tokio::select! {
        result = served => if let Err(error) = result {
            tracing::debug!("a control connection of {:?} ended: {error}", connection.machine);
        },
        () = connection.closed() => app.tailnet.unread.closes(&connection.machine),
    }
}

async fn answer(
    tailnet: Arc<TailnetService>,
    bodies: &Bodies,
    connection: &Arc<Connection>,
    request: Request<Incoming>,
) -> Response<Body> {
    let open = connection.request();
    let _busy = connection.seat.as_ref().and_then(Seat::busy);
    let is_known = tailnet.clerk.snapshot().nodes_of_machine(&connection.machine).next().is_some();
    if !is_known && open.now > MAX_REQUESTS_OF_A_STRANGER {
        let why = format!("a machine without a node may send {MAX_REQUESTS_OF_A_STRANGER} requests at once");
        return text(StatusCode::TOO_MANY_REQUESTS, why);
    }
    let budget = if is_known { &bodies.members } else { &bodies.strangers };
    route(tailnet, connection, budget, request).await
}

async fn route(
    tailnet: Arc<TailnetService>,
    connection: &Arc<Connection>,
    budget: &Budget,
    request: Request<Incoming>,
) -> Response<Body> {
    let machine = connection.machine;
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/machine/register") => match budget.read(request.into_body()).await {
            Ok(body) => {
                let response = register::post(tailnet.clone(), connection, body).await;
                connection.recognise(&tailnet);
                response
            }
            Err(refusal) => refusal,
        },
        (&Method::POST, "/machine/map") => match budget.read(request.into_body()).await {
            Ok(body) => map::post(tailnet, connection, body).await,
            Err(refusal) => refusal,
        },
        (&Method::GET, path) if path.starts_with(ACTION_PATH) => {
            ssh_action::get(tailnet, machine, request.uri()).await
        }
        (
            _,
            "/machine/set-dns"
            | "/machine/id-token"
            | "/machine/feature/query"
            | "/machine/update-health"
            | "/machine/audit-log"
            | "/machine/set-device-attr"
            | "/machine/whoami"
            | "/machine/c2n",
        ) => text(StatusCode::NOT_IMPLEMENTED, "this server does not support this request"),
        _ => text(StatusCode::NOT_FOUND, "there is no such endpoint"),
    }
}
