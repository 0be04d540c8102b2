//! Road 2: `/ts2021`: an HTTP connection becomes a Noise connection, by upgrade or as a WebSocket.

use std::time::Duration;

use axum::body::Body;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use headsail_noise::early;
use headsail_wire::keys::{ChallengeKey, MachineKey};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::app::App;
use crate::control::inner;
use crate::control::noise_io::NoiseIo;
use crate::listen::{Seat, UPGRADE_TIMEOUT};
use crate::system::random;

const PROTOCOL: &str = "tailscale-control-protocol";
const HANDSHAKE_HEADER: &str = "x-tailscale-handshake";
/// How long a new Noise connection may stay silent.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes in flight between a WebSocket and the Noise connection in it.
const PIPE: usize = 64 * 1024;

/// Takes a handshake and, once the connection is ours, serves the control protocol over it.
pub async fn ts2021(State(app): State<App>, request: Request<Body>) -> Response {
    let upgrade =
        request.headers().get(header::UPGRADE).and_then(|v| v.to_str().ok()).map(str::to_ascii_lowercase);
    match upgrade.as_deref() {
        Some("websocket") => websocket(app, request).await,
        Some(PROTOCOL) if request.method() == Method::POST => plain(app, request),
        Some(other) => refuse(&format!("protocol `{other}` is not spoken here; ask for `{PROTOCOL}`")),
        None => refuse(&format!("the Upgrade header is missing; ask for `{PROTOCOL}`")),
    }
}

fn refuse(text: &str) -> Response {
    (StatusCode::BAD_REQUEST, format!("{text}\n")).into_response()
}

fn plain(app: App, mut request: Request<Body>) -> Response {
    let initiation = match handshake_of(request.headers().get(HANDSHAKE_HEADER).and_then(|v| v.to_str().ok()))
    {
        Ok(bytes) => bytes,
        Err(text) => return refuse(text),
    };
    let seat = request.extensions().get::<Seat>().cloned();
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let _seat = seat;
        if let Ok(Ok(connection)) = tokio::time::timeout(UPGRADE_TIMEOUT, upgraded).await {
            serve(app, TokioIo::new(connection), &initiation).await;
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response
}

fn handshake_of(text: Option<&str>) -> Result<Vec<u8>, &'static str> {
    let text = text.ok_or("the handshake is missing; send it in X-Tailscale-Handshake")?;
    STANDARD.decode(text).map_err(|_| "the handshake is not base64")
}

/// Makes the connection a Noise connection and serves HTTP/2 in it until it ends.
async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    app: App,
    mut socket: S,
    initiation: &[u8],
) {
    let handshake = match app.process.noise.read_initiation(initiation) {
        Ok(handshake) => handshake,
        Err(error) => {
            tracing::debug!("a Noise handshake failed: {error}");
            let _ = socket
                .write_all(&headsail_noise::handshake::refusal("the handshake is not for this server's key"))
                .await;
            let _ = socket.shutdown().await;
            return;
        }
    };
    let machine = MachineKey::from_bytes(*handshake.machine_key());
    let (response, transport) = match handshake.write_response(&random::bytes()) {
        Ok(pair) => pair,
        Err(error) => {
            tracing::debug!("a Noise handshake failed: {error}");
            return;
        }
    };
    match NoiseIo::new(socket, transport, &response, &early_payload()) {
        Ok(mut io) => match tokio::time::timeout(SILENCE_TIMEOUT, io.first_words()).await {
            Ok(Ok(())) => inner::serve(app.tailnet, machine, io).await,
            Ok(Err(error)) => tracing::debug!("a Noise connection broke at its start: {error}"),
            Err(_) => tracing::debug!("a Noise connection of {machine:?} said nothing"),
        },
        Err(error) => tracing::debug!("a Noise connection broke at its start: {error}"),
    }
}

/// The early payload carries a challenge that no client answers yet; a fresh key costs nothing.
fn early_payload() -> Vec<u8> {
    let key = ChallengeKey::from_bytes(random::bytes());
    early::encode(format!(r#"{{"nodeKeyChallenge":"{key}"}}"#).as_bytes())
}

#[derive(serde::Deserialize)]
struct HandshakeQuery {
    #[serde(rename = "X-Tailscale-Handshake")]
    handshake: Option<String>,
}

async fn websocket(app: App, request: Request<Body>) -> Response {
    let (mut parts, _) = request.into_parts();
    let query = Query::<HandshakeQuery>::try_from_uri(&parts.uri).ok().and_then(|q| q.0.handshake);
    let header = handshake_header(&parts.headers);
    let initiation = match handshake_of(query.as_deref().or(header.as_deref())) {
        Ok(bytes) => bytes,
        Err(text) => return refuse(text),
    };
    match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => {
            let seat = parts.extensions.get::<Seat>().cloned();
            upgrade.protocols([PROTOCOL]).on_upgrade(async move |socket| {
                let _seat = seat;
                websocket_as_bytes(app, socket, initiation).await;
            })
        }
        Err(rejection) => rejection.into_response(),
    }
}

fn handshake_header(headers: &HeaderMap) -> Option<String> {
    Some(headers.get(HANDSHAKE_HEADER)?.to_str().ok()?.to_owned())
}

/// Binary messages of a WebSocket are one stream of bytes; how they are cut means nothing.
async fn websocket_as_bytes(app: App, mut socket: WebSocket, initiation: Vec<u8>) {
    let (ours, theirs) = tokio::io::duplex(PIPE);
    let session = tokio::spawn(async move { serve(app, theirs, &initiation).await });
    let (mut from_session, mut to_session) = tokio::io::split(ours);
    let mut buffer = vec![0u8; 16 * 1024];
    loop {
        tokio::select! {
            message = socket.recv() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    if to_session.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => break,
            },
            read = from_session.read(&mut buffer) => match read {
                Ok(n) if n > 0 => {
                    let bytes = buffer.get(..n).unwrap_or_default().to_vec();
                    if socket.send(Message::Binary(bytes.into())).await.is_err() {
                        break;
                    }
                }
                _ => break,
            },
        }
    }
    session.abort();
}
