//! Reads the first bytes of a connection, and gives them back to the part that serves it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::classify::{self, Accepts, Connection};

/// Bytes read at once.
const CHUNK: usize = 2048;

/// Whether a client begins with TLS. Nothing is consumed.
pub(super) async fn begins_with_tls(socket: &TcpStream) -> io::Result<bool> {
    let mut first = [0; 1];
    let read = socket.peek(&mut first).await?;
    let begins = first.get(..read).unwrap_or_default();
    Ok(classify::connection(begins, Accepts { tls: true, derp: false }) == Some(Connection::Tls))
}

/// Reads until the connection can be classified. One that ends before is left to the HTTP server.
pub(super) async fn classify<S: AsyncRead + Unpin>(
    mut stream: S,
    accepts: Accepts,
) -> io::Result<(Connection, Rewound<S>)> {
    let mut head = Vec::new();
    let mut chunk = [0u8; CHUNK];
    loop {
        if let Some(kind) = classify::connection(&head, accepts) {
            return Ok((kind, Rewound { head, taken: 0, stream }));
        }
        match stream.read(&mut chunk).await? {
            0 => return Ok((Connection::Http, Rewound { head, taken: 0, stream })),
            n => head.extend_from_slice(chunk.get(..n).unwrap_or_default()),
        }
    }
}

/// A stream whose first bytes were read ahead.
pub(super) struct Rewound<S> {
    head: Vec<u8>,
    taken: usize,
    stream: S,
}

impl<S> Rewound<S> {
    /// The same stream without its first `len` bytes, which were read ahead.
    pub fn without(mut self, len: usize) -> Rewound<S> {
        self.taken = len.min(self.head.len());
        self
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.head.get(this.taken..) {
            Some(rest) if !rest.is_empty() => {
                let n = rest.len().min(out.remaining());
                out.put_slice(rest.get(..n).unwrap_or_default());
                this.taken += n;
                if this.taken == this.head.len() {
                    this.head = Vec::new();
                    this.taken = 0;
                }
                Poll::Ready(Ok(()))
            }
            _ => Pin::new(&mut this.stream).poll_read(cx, out),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, data)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
