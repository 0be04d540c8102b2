//! Reads the rest of a request's body after its handler: a connection whose request is not read to the end has to be closed,
//! often while the client is still sending.

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

/// A longer rest is not read, in bytes: the connection is closed instead.
const MAX_REST: usize = 256 * 1024;
/// How long the rest may take to arrive.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A layer: runs the handler, then reads what it left.
pub async fn drain(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let body = SharedBody(Arc::new(Mutex::new(body)));
    let mut rest = SharedBody(body.0.clone());
    let response = next.run(Request::from_parts(parts, Body::new(body))).await;
    // If it takes too long, or is too much, the connection is closed after all.
    let _ = tokio::time::timeout(TIMEOUT, async {
        let mut read = 0;
        while let Some(Ok(frame)) = rest.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > MAX_REST {
                return;
            }
        }
    })
    .await;
    response
}

/// A body that can still be read after its handler has dropped it.
struct SharedBody(Arc<Mutex<Body>>);

impl HttpBody for SharedBody {
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
    async fn the_rest_of_a_body_is_read() {
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
    async fn an_endless_body_is_not() {
        let frames =
            stream::repeat_with(|| Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(&[b'x'; 65_536]))));
        let request = Request::post("/").body(Body::new(StreamBody::new(frames))).unwrap();
        let router = Router::new().route("/", post(|| async { StatusCode::OK })).layer(from_fn(drain));
        assert_eq!(router.oneshot(request).await.unwrap().status(), StatusCode::OK);
    }
}
