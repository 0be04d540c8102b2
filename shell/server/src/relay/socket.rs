//! One connection after its handshake: a task that reads large pieces, hands them to the relay, and writes what is queued.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use headsail_derp::limits::{READ, WRITE_STALL_SECS};
use headsail_derp::relay::Next;
use headsail_derp::{Chunk, ClientInfo, ConnId};
use headsail_wire::keys::NodeKey;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::Shared;
use super::end::End;
use crate::system::random;

const WRITE_STALL: Duration = Duration::from_secs(WRITE_STALL_SECS);

thread_local! {
    /// Holds a connection's input while it is parsed. All connections that run on a thread share it, so that idle ones own no
    /// buffer.
    static INPUT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A connection that has joined the relay, and leaves it when dropped. The future runs until the connection ends.
pub(super) struct Connection<S> {
    shared: Arc<Shared>,
    io: S,
    id: ConnId,
    key: NodeKey,
    /// The beginning of an incomplete frame.
    held: Vec<u8>,
    /// The bytes being written.
    writing: Option<Chunk>,
    /// Whether something was written that may still be in a buffer of `io`.
    unflushed: bool,
    /// Since when the client has accepted nothing of what is queued for it.
    blocked: Option<Instant>,
    keepalive_due: Instant,
    timer: Pin<Box<Sleep>>,
}

impl<S> Connection<S> {
    /// Adds a client to the relay. `held` is what it has already sent after its handshake.
    pub(super) fn join(shared: Arc<Shared>, io: S, key: NodeKey, info: ClientInfo, held: Vec<u8>) -> Self {
        let jitter = u32::from_ne_bytes(random::bytes());
        let now = shared.time(Instant::now());
        let (id, due) = shared.locked(|core, woken| {
            let id = core.join(key, info, now, jitter, woken);
            (id, core.tick(id, now, woken))
        });
        let keepalive_due = shared.instant(due);
        Connection {
            shared,
            io,
            id,
            key,
            held,
            writing: None,
            unflushed: false,
            blocked: None,
            keepalive_due,
            timer: Box::pin(tokio::time::sleep_until(keepalive_due)),
        }
    }

    pub(super) fn io(&mut self) -> &mut S {
        &mut self.io
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        let id = self.id;
        // Removed before the number is given to another connection.
        drop(self.shared.lock().writer(id));
        self.shared.locked(|core, woken| core.leave(id, woken));
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Connection<S> {
    type Output = End;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        match self.run(cx) {
            Ok(()) => Poll::Pending,
            Err(end) => Poll::Ready(end),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// One turn. It reads at most one piece, so that the receivers of it run before the next is read.
    fn run(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let more = self.read(cx)?;
        self.write(cx)?;
        self.keep_time(cx)?;
        if more {
            cx.waker().wake_by_ref();
        }
        Ok(())
    }

    /// Reads a piece and hands it to the relay. True if more is probably ready to be read.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut input = INPUT.take();
        let result = self.read_into(cx, &mut input);
        INPUT.set(input);
        result
    }

    fn read_into(&mut self, cx: &mut Context<'_>, input: &mut Vec<u8>) -> Result<bool, End> {
        let start = self.held.len();
        let room = start + READ;
        if input.len() < room {
            input.resize(room, 0);
        }
        let mut buf = ReadBuf::new(input.get_mut(..room).unwrap_or_default());
        buf.put_slice(&self.held);
        let more = self.fill(cx, &mut buf)?;
        let filled = buf.filled();
        if filled.len() == start && start == 0 {
            return Ok(more);
        }
        let id = self.id;
        let now = self.shared.time(Instant::now());
        let done =
            self.shared.locked(|core, woken| core.receive(id, filled, now, woken)).map_err(End::Closed)?;
        let rest = filled.get(done..).unwrap_or_default();
        if rest.is_empty() {
            self.held = Vec::new();
        } else {
            self.held.clear();
            self.held.extend_from_slice(rest);
        }
        Ok(more)
    }

    /// Reads until the buffer is full or nothing more is available. True if it is full.
    fn fill(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Result<bool, End> {
        while buf.remaining() > 0 {
            let before = buf.filled().len();
            match Pin::new(&mut self.io).poll_read(cx, buf) {
                Poll::Ready(Ok(())) if buf.filled().len() == before => return Err(End::Eof),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Err(End::Io(error.kind())),
                Poll::Pending => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Writes what is queued, until nothing is left or the client accepts no more.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        match self.write_all(cx) {
            Poll::Ready(Ok(())) => self.blocked = None,
            Poll::Ready(Err(end)) => return Err(end),
            Poll::Pending => {
                self.blocked.get_or_insert_with(Instant::now);
            }
        }
        Ok(())
    }

    fn write_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        loop {
            while let Some(chunk) = self.writing.as_mut().filter(|chunk| !chunk.bytes().is_empty()) {
                match ready!(Pin::new(&mut self.io).poll_write(cx, chunk.bytes())) {
                    Ok(0) => return Poll::Ready(Err(End::Io(io::ErrorKind::WriteZero))),
                    Ok(n) => chunk.advance(n),
                    Err(error) => return Poll::Ready(Err(End::Io(error.kind()))),
                }
                self.unflushed = true;
                self.blocked = None;
            }
            let written = self.writing.take();
            let mut state = self.shared.lock();
            match state.core.take(self.id, written) {
                Next::Write(chunk) => self.writing = Some(chunk),
                Next::Close(why) => return Poll::Ready(Err(End::Closed(why))),
                Next::Idle => {
                    state.park(self.id, cx.waker());
                    break;
                }
            }
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx)).map_err(|error| End::Io(error.kind()))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Does what is due, and makes sure that this task runs when the next deadline passes.
    fn keep_time(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        loop {
            let stalls = self.blocked.map(|since| since + WRITE_STALL);
            let due = stalls.map_or(self.keepalive_due, |at| at.min(self.keepalive_due));
            if due < self.timer.deadline() {
                self.timer.as_mut().reset(due);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            let now = Instant::now();
            if stalls.is_some_and(|at| at <= now) {
                return Err(End::Stalled);
            }
            if self.keepalive_due <= now {
                self.keep_alive(now)?;
            }
            let due = stalls.map_or(self.keepalive_due, |at| at.min(self.keepalive_due));
            self.timer.as_mut().reset(due);
        }
    }

    /// Sends a keep-alive, and checks again whether the node is admitted.
    fn keep_alive(&mut self, now: Instant) -> Result<(), End> {
        if !(self.shared.admission)(self.key.bytes()) {
            return Err(End::Refused);
        }
        let (id, time) = (self.id, self.shared.time(now));
        let due = self.shared.locked(|core, woken| core.tick(id, time, woken));
        self.keepalive_due = self.shared.instant(due);
        Ok(())
    }
}
