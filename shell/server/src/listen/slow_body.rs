//! The body of a request has to arrive in time, however slowly it drips: no request holds a connection for ever.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Frame, Incoming, SizeHint};

/// How long the body of a request may take to arrive, from when it is first waited for.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A body that fails with [`TooSlow`] once its time is up.
pub(super) struct TimedBody {
    body: Incoming,
    /// Starts when the body is first waited for.
    timeout: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl TimedBody {
    pub fn new(body: Incoming) -> TimedBody {
        TimedBody { body, timeout: None }
    }
}

impl Body for TimedBody {
    type Data = bytes::Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, axum::BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|f| f.map_err(Into::into)));
        }
        let timeout = self.timeout.get_or_insert_with(|| Box::pin(tokio::time::sleep(BODY_TIMEOUT)));
        ready!(timeout.as_mut().poll(cx));
        Poll::Ready(Some(Err(TooSlow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request did not arrive in [`BODY_TIMEOUT`].
#[derive(Debug)]
pub struct TooSlow;

impl std::fmt::Display for TooSlow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the request took too long to arrive")
    }
}

impl std::error::Error for TooSlow {}
