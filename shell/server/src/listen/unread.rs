//! What a handler leaves of a request's body is read after it: a connection whose request is not read to its end has to be
//! closed, often under a client that is still sending.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// More than this is not worth an open connection.
const MOST: usize = 256 * 1024;
/// Nor is waiting longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A layer: runs the handler, then reads the rest.
pub async fn drain(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let body = Lent(Arc::new(Mutex::new(body)));
    let mut rest = Lent(body.0.clone());
    let response = next.run(Request::from_parts(parts, Body::new(body))).await;
    // Where it takes too long, or too much comes, the connection is closed after all.
    let _ = tokio::time::timeout(PATIENCE, async {
        let mut read = 0;
        while let Some(Ok(frame)) = rest.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > MOST {
                return;
            }
        }
    })
    .await;
    response
}

/// A body that its handler does not take away.
struct Lent(Arc<Mutex<Body>>);

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::StatusCode;
    use axum::middleware::from_fn;
    use axum::routing::post;
    use futures_util::stream;
    use http_body_util::StreamBody;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn what_nobody_reads_is_read() {
        let (sent, parts) = tokio::sync::mpsc::channel(1);
        let frames = stream::unfold(parts, |mut p| async { p.recv().await.map(|frame| (frame, p)) });
        let request = Request::post("/").body(Body::new(StreamBody::new(frames))).unwrap();
        let router = Router::new().route("/", post(|| async { StatusCode::OK })).layer(from_fn(drain));
        let answered = tokio::spawn(router.oneshot(request));
        for _ in 0..8 {
            sent.send(Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(&[b'x'; 1024])))).await.unwrap();
        }
        drop(sent);
        assert_eq!(answered.await.unwrap().unwrap().status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn what_comes_without_end_is_not() {
        let frames =
            stream::repeat_with(|| Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(&[b'x'; 65_536]))));
        let request = Request::post("/").body(Body::new(StreamBody::new(frames))).unwrap();
        let router = Router::new().route("/", post(|| async { StatusCode::OK })).layer(from_fn(drain));
        assert_eq!(router.oneshot(request).await.unwrap().status(), StatusCode::OK);
    }
}
