//! A Noise connection as a stream of bytes. An idle connection owns no buffers.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use headsail_noise::{Opener, Sealer, Transport};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::listen::classify::HTTP2_PREFACE;

/// Sealed bytes that may wait for the socket; no more is accepted until they are sent.
const MAX_UNSENT: usize = 64 * 1024;
/// Bytes that are read from the socket at once.
const READ_CHUNK: usize = 16 * 1024;

/// Encrypts what is written and decrypts what is read.
pub struct NoiseIo<S> {
    socket: S,
    sealer: Sealer,
    opener: Opener,
    /// Read and not yet decrypted: an incomplete record.
    sealed: Vec<u8>,
    /// Decrypted and not yet taken.
    opened: Vec<u8>,
    taken: usize,
    /// Sealed and not yet sent.
    unsent: Vec<u8>,
    sent: usize,
}

impl<S> NoiseIo<S> {
    /// `response` answers the handshake; behind it, `first` is sealed and sent before anything else.
    ///
    /// # Errors
    /// `first` cannot be sealed.
    pub fn new(socket: S, transport: Transport, response: &[u8], first: &[u8]) -> io::Result<NoiseIo<S>> {
        let Transport { sealer, opener } = transport;
        let mut io = NoiseIo {
            socket,
            sealer,
            opener,
            sealed: Vec::new(),
            opened: Vec::new(),
            taken: 0,
            unsent: response.to_vec(),
            sent: 0,
        };
        io.sealer.seal(first, &mut io.unsent).map_err(io::Error::other)?;
        Ok(io)
    }

    fn open(&mut self) -> io::Result<()> {
        self.opener
            .drain(&mut self.sealed, &mut self.opened)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> NoiseIo<S> {
    /// Sends what is queued, and returns when the client has begun to speak HTTP/2.
    ///
    /// # Errors
    /// The connection ended, or what was received is not a record.
    pub async fn first_words(&mut self) -> io::Result<()> {
        self.flush().await?;
        std::future::poll_fn(|cx| self.poll_fill(cx, HTTP2_PREFACE.len())).await
    }
}

impl<S: AsyncRead + Unpin> NoiseIo<S> {
    /// Reads until this many bytes are decrypted; fewer if the stream has ended.
    fn poll_fill(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<()>> {
        while self.opened.len() - self.taken < wanted {
            // Not filled with zeros first: most polls read little, or find nothing.
            let mut chunk = [MaybeUninit::uninit(); READ_CHUNK];
            let mut buffer = ReadBuf::uninit(&mut chunk);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.sealed.extend_from_slice(buffer.filled());
            self.open()?;
            if self.sealed.is_empty() {
                self.sealed = Vec::new();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for NoiseIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_fill(cx, 1))?;
        let ready = this.opened.get(this.taken..).unwrap_or_default();
        let n = ready.len().min(out.remaining());
        out.put_slice(ready.get(..n).unwrap_or_default());
        this.taken += n;
        if this.taken >= this.opened.len() {
            this.opened = Vec::new();
            this.taken = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> NoiseIo<S> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.unsent.get(self.sent..).filter(|r| !r.is_empty()) {
            let n = ready!(Pin::new(&mut self.socket).poll_write(cx, rest))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += n;
        }
        self.unsent = Vec::new();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for NoiseIo<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.unsent.len() >= MAX_UNSENT {
            ready!(this.poll_send(cx))?;
        }
        let n = data.len().min(MAX_UNSENT);
        this.sealer.seal(data.get(..n).unwrap_or_default(), &mut this.unsent).map_err(io::Error::other)?;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}
