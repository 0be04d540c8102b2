//! HTTP/2 inside a Noise connection: every request is authenticated by the connection's machine key.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Method, Request, Response, StatusCode};
use headsail_wire::keys::MachineKey;
use headsail_wire::ssh::ACTION_PATH;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::app::TailnetService;
use crate::control::reply::text;
use crate::control::{map, register, ssh_action};
use crate::listen::{BODY_TIMEOUT, Seat, TooSlow};

/// Largest request body, in bytes. The refusal below names it.
const MAX_BODY: usize = 1024 * 1024;
/// Requests that a connection may have open at once.
const MAX_STREAMS: u32 = 256;
/// A connection that sends nothing is pinged this often.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long it may take to answer a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes that a stream may have queued for sending.
const SEND_BUFFER: usize = 256 * 1024;

/// Who is on the other side of a Noise connection.
#[derive(Clone)]
pub struct Caller {
    /// The machine key that the connection has proved.
    pub machine: MachineKey,
    /// The source address of the connection, if it came over one.
    pub source: Option<IpAddr>,
    /// The place of the connection, if it has one.
    pub seat: Option<Seat>,
}

impl Caller {
    /// Keeps the place of a connection that a registered node is behind.
    fn recognise(&self, tailnet: &TailnetService) {
        if let Some(seat) = self.seat.as_ref().filter(|seat| !seat.is_known())
            && tailnet.clerk.snapshot().nodes_of_machine(&self.machine).next().is_some()
        {
            seat.recognise();
        }
    }
}

/// Serves requests until the connection ends.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    tailnet: Arc<TailnetService>,
    caller: Caller,
    io: S,
) {
    let machine = caller.machine;
    caller.recognise(&tailnet);
    let service = service_fn(move |request| {
        let (tailnet, caller) = (tailnet.clone(), caller.clone());
        async move {
            let head = request.method() == Method::HEAD;
            let mut response = route(tailnet, caller, request).await;
            if head {
                *response.body_mut() = Body::empty();
            }
            Ok::<_, Infallible>(response)
        }
    });
    let result = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(TokioIo::new(io), service)
        .await;
    if let Err(error) = result {
        tracing::debug!("a control connection of {machine:?} ended: {error}");
    }
}

async fn route(tailnet: Arc<TailnetService>, caller: Caller, request: Request<Incoming>) -> Response<Body> {
    let machine = caller.machine;
    let _busy = caller.seat.as_ref().and_then(Seat::busy);
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/machine/register") => match body(request).await {
            Ok(body) => {
                let response = register::post(tailnet.clone(), &caller, &body).await;
                caller.recognise(&tailnet);
                response
            }
            Err(refusal) => refusal,
        },
        (&Method::POST, "/machine/map") => match body(request).await {
            Ok(body) => map::post(tailnet, machine, &body).await,
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

async fn body(request: Request<Incoming>) -> Result<Bytes, Response<Body>> {
    let collected = Limited::new(request.into_body(), MAX_BODY).collect();
    match tokio::time::timeout(BODY_TIMEOUT, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(text(StatusCode::PAYLOAD_TOO_LARGE, "the request is larger than 1 MiB"))
        }
        Ok(Err(_)) => Err(text(StatusCode::BAD_REQUEST, "the connection ended in the middle of the request")),
        Err(_) => Err(text(StatusCode::REQUEST_TIMEOUT, TooSlow.to_string())),
    }
}
