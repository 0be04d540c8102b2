//! WebSockets, which browsers need: the opening handshake of a server, and binary messages as a stream of bytes, both ways.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::http::header::{
    CONNECTION, HeaderMap, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderValue, Request, Response, StatusCode};
use axum::response::IntoResponse;
use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::take_over;

/// The version of RFC 6455.
const VERSION: &str = "13";
/// Bytes of the largest message sent: the Go client refuses those of more than 32 KiB.
const MAX_SENT: usize = 16 * 1024;
/// Bytes that a connection reads at once, and holds while it is open.
const READ_BUFFER: usize = 8 * 1024;

/// Whether a client offers this subprotocol.
pub fn offers(headers: &HeaderMap, subprotocol: &str) -> bool {
    let mut offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|v| v.to_str().ok());
    offered.any(|names| names.split(',').any(|name| name.trim() == subprotocol))
}

/// Answers a request for a WebSocket (RFC 6455, 4.2) with this subprotocol if the client offers it, and serves the bytes
/// that it carries, in messages of at most `longest` bytes. A request that is not for a WebSocket of this version is refused.
pub fn open<F>(
    request: &mut Request<Body>,
    subprotocol: &'static str,
    longest: usize,
    serve: impl FnOnce(ByteStream<TokioIo<Upgraded>>) -> F + Send + 'static,
) -> Response<Body>
where
    F: Future<Output = ()> + Send + 'static,
{
    let Some(response) = switch(request.headers(), subprotocol) else {
        let text = "this is not a WebSocket request of version 13\n";
        return (StatusCode::BAD_REQUEST, [(SEC_WEBSOCKET_VERSION, VERSION)], text).into_response();
    };
    take_over(request, async move |io| serve(ByteStream::new(io, longest).await).await);
    response
}

fn switch(headers: &HeaderMap, subprotocol: &'static str) -> Option<Response<Body>> {
    let first = |name: HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
    let key = first(SEC_WEBSOCKET_KEY).filter(|key| !key.is_empty())?;
    first(SEC_WEBSOCKET_VERSION).filter(|version| *version == VERSION)?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = response.headers_mut();
    out.insert(UPGRADE, HeaderValue::from_static("websocket"));
    out.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    out.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()?);
    if offers(headers, subprotocol) {
        out.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    }
    Some(response)
}

/// The server's end of a WebSocket, as a stream of bytes: where messages begin and end means nothing.
pub struct ByteStream<S> {
    socket: WebSocketStream<S>,
    /// What is left of the last message received.
    rest: Bytes,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ByteStream<S> {
    /// Takes over a connection after the response that made it a WebSocket.
    async fn new(io: S, longest: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(longest))
            .max_frame_size(Some(longest));
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        ByteStream { socket, rest: Bytes::new() }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ByteStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.rest = bytes,
                Some(Ok(Message::Text(_))) => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
            }
        }
        let n = self.rest.len().min(buf.remaining());
        buf.put_slice(self.rest.get(..n).unwrap_or_default());
        self.rest.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ByteStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut socket = Pin::new(&mut self.socket);
        ready!(socket.as_mut().poll_ready(cx)).map_err(io::Error::other)?;
        let piece = buf.get(..MAX_SENT).unwrap_or(buf);
        let message = Message::Binary(Bytes::copy_from_slice(piece));
        socket.start_send(message).map_err(io::Error::other)?;
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(io::Error::other)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(io::Error::other)
    }
}
