//! The client's side of a Noise connection as a byte stream. The early payload is skipped.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use headsail_noise::early::{self, Early};
use headsail_noise::{Opener, Sealer, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Maximum number of bytes read from the socket at once.
const READ_CHUNK: usize = 32 * 1024;
/// Limit on encrypted bytes that wait for the socket.
const MAX_UNSENT: usize = 64 * 1024;

/// Encrypts what is written and decrypts what is read.
pub struct NoiseIo {
    socket: TcpStream,
    sealer: Sealer,
    opener: Opener,
    /// Received, but not a whole record yet.
    sealed: Vec<u8>,
    /// Decrypted; the first `taken` bytes have been read by the caller.
    opened: Vec<u8>,
    taken: usize,
    /// Encrypted; the first `sent` bytes have been written to the socket.
    unsent: Vec<u8>,
    sent: usize,
    /// Whether the early payload was skipped, or there is none.
    past_early: bool,
}

impl NoiseIo {
    /// `received` holds the bytes that arrived after the handshake.
    ///
    /// # Errors
    /// The bytes after the handshake are not valid records.
    pub fn new(socket: TcpStream, transport: Transport, received: Vec<u8>) -> io::Result<NoiseIo> {
        let Transport { sealer, opener } = transport;
        let (opened, unsent) = (Vec::new(), Vec::new());
        let mut io = NoiseIo {
            socket,
            sealer,
            opener,
            sealed: received,
            opened,
            taken: 0,
            unsent,
            sent: 0,
            past_early: false,
        };
        io.open()?;
        Ok(io)
    }

    /// Decrypts complete records and removes an early payload.
    fn open(&mut self) -> io::Result<()> {
        self.opener.drain(&mut self.sealed, &mut self.opened).map_err(io::Error::other)?;
        if self.past_early || self.opened.is_empty() {
            return Ok(());
        }
        match early::decode(&self.opened) {
            Early::Incomplete => {}
            Early::Absent => self.past_early = true,
            Early::Payload { len, .. } => {
                self.opened.drain(..len);
                self.past_early = true;
            }
            Early::TooLong => return Err(io::Error::other("the server's early payload is too long")),
        }
        Ok(())
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.unsent.get(self.sent..).filter(|r| !r.is_empty()) {
            match ready!(Pin::new(&mut self.socket).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.sent += n,
            }
        }
        self.unsent.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for NoiseIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut chunk = [0; READ_CHUNK];
        while !this.past_early || this.taken == this.opened.len() {
            this.opened.drain(..this.taken);
            this.taken = 0;
            let mut buffer = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.socket).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.sealed.extend_from_slice(buffer.filled());
            this.open()?;
        }
        let ready = this.opened.get(this.taken..).unwrap_or_default();
        let n = ready.len().min(out.remaining());
        out.put_slice(ready.get(..n).unwrap_or_default());
        this.taken += n;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for NoiseIo {
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
        self.get_mut().poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}
