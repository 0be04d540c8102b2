//! Road 2: `/ts2021`: an HTTP connection becomes a Noise connection, by upgrade or as a WebSocket.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use headsail_noise::early;
use headsail_wire::keys::{ChallengeKey, MachineKey};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::app::App;
use crate::control::connection::Connection;
use crate::control::inner;
use crate::control::noise_io::NoiseIo;
use crate::listen::classify::{self, CONTROL_PROTOCOL, Upgrade};
use crate::listen::{Seat, take_over, websocket};
use crate::system::random;

const HANDSHAKE_HEADER: &str = "x-tailscale-handshake";
/// How long a new connection may take from the switch of protocols until its client speaks HTTP/2 in it.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest message of a WebSocket, in bytes: clients send a record of 4 KiB in each.
const MAX_MESSAGE: usize = 16 * 1024;

/// Reads the first Noise message and, once HTTP has given up the connection, serves the control protocol on it.
pub async fn ts2021(State(app): State<App>, request: Request<Body>) -> Response {
    let headers = request.headers();
    let answered = match classify::upgrade(request.method(), request.uri().path(), headers) {
        Some(Upgrade::Control) => {
            handshake(header_of(headers)).map(|initiation| switch(app, request, initiation))
        }
        Some(Upgrade::ControlWebSocket) => {
            let query = Query::<HandshakeQuery>::try_from_uri(request.uri()).ok().and_then(|q| q.0.handshake);
            handshake(query.as_deref().or(header_of(headers)))
                .map(|initiation| switch_to_websocket(app, request, initiation))
        }
        Some(Upgrade::Derp | Upgrade::DerpWebSocket) | None => Err(match headers.get(header::UPGRADE) {
            Some(other) => {
                let other = String::from_utf8_lossy(other.as_bytes());
                format!("cannot switch to `{other}`; use POST and `Upgrade: {CONTROL_PROTOCOL}`")
            }
            None => format!("the Upgrade header is missing; use POST and `Upgrade: {CONTROL_PROTOCOL}`"),
        }),
    };
    answered.unwrap_or_else(|why| (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response())
}

#[derive(serde::Deserialize)]
struct HandshakeQuery {
    #[serde(rename = "X-Tailscale-Handshake")]
    handshake: Option<String>,
}

fn header_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(HANDSHAKE_HEADER)?.to_str().ok()
}

/// Decodes the first Noise message.
fn handshake(text: Option<&str>) -> Result<Vec<u8>, String> {
    let text = text.ok_or("the handshake is missing; send it in X-Tailscale-Handshake")?;
    STANDARD.decode(text).map_err(|_| "the handshake is not base64".to_owned())
}

/// Where the connection of a request comes from, and its place.
struct Origin {
    source: Option<IpAddr>,
    seat: Option<Seat>,
}

impl Origin {
    fn of(request: &Request<Body>) -> Origin {
        let remote = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let source = remote.map(|ConnectInfo(remote)| remote.ip());
        Origin { source, seat: request.extensions().get().cloned() }
    }
}

fn switch(app: App, mut request: Request<Body>, initiation: Vec<u8>) -> Response {
    let origin = Origin::of(&request);
    take_over(&mut request, async move |io| serve(app, io, origin, &initiation).await);
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(CONTROL_PROTOCOL));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response
}

fn switch_to_websocket(app: App, mut request: Request<Body>, initiation: Vec<u8>) -> Response {
    let origin = Origin::of(&request);
    websocket::open(&mut request, CONTROL_PROTOCOL, MAX_MESSAGE, async move |io| {
        serve(app, io, origin, &initiation).await
    })
}

/// Completes the Noise handshake and serves HTTP/2 over the connection until it ends.
async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    app: App,
    socket: S,
    origin: Origin,
    initiation: &[u8],
) {
    match tokio::time::timeout(SILENCE_TIMEOUT, shake_hands(&app, socket, initiation)).await {
        Ok(Ok((machine, io))) => {
            inner::serve(app, Connection::new(machine, origin.source, origin.seat), io).await;
        }
        Ok(Err(error)) => tracing::debug!("a Noise connection failed at its start: {error}"),
        Err(_) => tracing::debug!("a Noise connection stayed silent at its start"),
    }
}

/// Answers the handshake, and returns when the client has begun to speak HTTP/2.
async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
    app: &App,
    mut socket: S,
    initiation: &[u8],
) -> Result<(MachineKey, NoiseIo<S>), Box<dyn std::error::Error + Send + Sync>> {
    let handshake = match app.process.noise.read_initiation(initiation) {
        Ok(handshake) => handshake,
        Err(error) => {
            let why = "the handshake is not for this server's key";
            socket.write_all(&headsail_noise::handshake::refusal(why)).await?;
            socket.shutdown().await?;
            return Err(error.into());
        }
    };
    let machine = MachineKey::from_bytes(*handshake.machine_key());
    let (response, transport) = handshake.write_response(&random::bytes())?;
    let mut io = NoiseIo::new(socket, transport, &response, &early_payload())?;
    io.first_words().await?;
    Ok((machine, io))
}

/// The early payload has a challenge that no client answers yet; a fresh key costs nothing.
fn early_payload() -> Vec<u8> {
    let key = ChallengeKey::from_bytes(random::bytes());
    early::encode(format!(r#"{{"nodeKeyChallenge":"{key}"}}"#).as_bytes())
}

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod tests;
