//! Response bodies of maps. HTTP/2 takes a piece at a time, so that a map that its client does not read can still be freed.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use headsail_wire::ids::NodeId;
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc;

use super::connection::Connection;
use super::places::Place;

/// A reader that takes nothing for this long is disconnected.
const STALLED: Duration = Duration::from_secs(60);
/// How long the last piece of a response that ends early may wait.
const LAST_PIECE: Duration = Duration::from_secs(5);
/// Bytes that are handed to HTTP/2 at once: a frame of the default size. It keeps what it was handed until the client has
/// read it or the connection ends.
const PIECE: usize = 16 * 1024;

/// The sending end of a response body.
pub(super) struct Pieces {
    sender: mpsc::Sender<Bytes>,
    connection: Arc<Connection>,
}

/// Room for one piece in a body.
pub(super) type Room<'a> = mpsc::Permit<'a, Bytes>;

/// The client does not read the response, or does not need it any more.
#[derive(Debug)]
pub(super) struct Ended;

/// A body without a known length, and its sending end.
pub(super) fn stream(connection: &Arc<Connection>) -> (Pieces, Body) {
    channel(connection, None)
}

/// The body of a response that is complete, in a task that sends it while it has its place.
pub(super) fn whole(connection: &Arc<Connection>, bytes: Bytes, mut place: Place<NodeId>) -> Body {
    let (pieces, body) = channel(connection, Some(bytes.len()));
    tokio::spawn(async move {
        tokio::select! {
            _ = pieces.send(bytes) => {}
            () = place.lost() => {}
        }
        pieces.end().await;
    });
    body
}

fn channel(connection: &Arc<Connection>, len: Option<usize>) -> (Pieces, Body) {
    // One piece may wait.
    let (sender, queue) = mpsc::channel(1);
    (Pieces { sender, connection: connection.clone() }, Body::new(Queue { queue, left: len }))
}

impl Pieces {
    /// Room, if there is some now.
    pub fn room_now(&self) -> Option<Room<'_>> {
        self.sender.try_reserve().ok()
    }

    /// Waits for room. A client that does not read for too long loses its connection.
    pub async fn room(&self) -> Result<Room<'_>, Ended> {
        match tokio::time::timeout(STALLED, self.sender.reserve()).await {
            Ok(room) => room.map_err(|_| Ended),
            Err(_) => {
                self.connection.close();
                Err(Ended)
            }
        }
    }

    /// Hands over all of a response, piece by piece, and waits until the last one is taken.
    async fn send(&self, mut bytes: Bytes) -> Result<(), Ended> {
        while !bytes.is_empty() {
            self.room().await?.send(first_piece(&mut bytes));
        }
        self.room().await.map(drop)
    }

    /// Waits until the client has closed the stream.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }

    /// Ends the response. Nothing but one piece waits any more; if the client does not even take that, its connection is
    /// told so.
    pub async fn end(&self) {
        if tokio::time::timeout(LAST_PIECE, self.sender.reserve()).await.is_err() {
            self.connection.cuts_answer();
        }
    }
}

/// Takes the first piece off a frame. Pieces of a long one are copies: a slice would keep all of it in memory. Short frames
/// stay shared.
pub(super) fn first_piece(bytes: &mut Bytes) -> Bytes {
    let Some((piece, rest)) = bytes.split_at_checked(PIECE).filter(|(_, rest)| !rest.is_empty()) else {
        return std::mem::take(bytes);
    };
    let piece = Bytes::copy_from_slice(piece);
    *bytes = if rest.len() <= PIECE { Bytes::copy_from_slice(rest) } else { bytes.slice(PIECE..) };
    piece
}

/// The receiving end.
struct Queue {
    queue: mpsc::Receiver<Bytes>,
    /// Bytes to come, if that is known.
    left: Option<usize>,
}

impl hyper::body::Body for Queue {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.queue.poll_recv(cx).map(|piece| match (piece, &mut self.left) {
            (Some(piece), left) => {
                if let Some(left) = left {
                    *left = left.saturating_sub(piece.len());
                }
                Some(Ok(Frame::data(piece)))
            }
            (None, None | Some(0)) => None,
            (None, Some(_)) => Some(Err(io::ErrorKind::ConnectionAborted.into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, |left| SizeHint::with_exact(left as u64))
    }
}

#[cfg(test)]
mod tests {
    use headsail_wire::keys::MachineKey;
    use http_body_util::BodyExt;

    use super::*;
    use crate::control::places::Places;

    fn map(connection: &Arc<Connection>, places: &Places<NodeId>, len: usize) -> Body {
        let place = places.take(NodeId::new(1).unwrap());
        whole(connection, Bytes::from(vec![7; len]), place)
    }

    #[tokio::test(start_paused = true)]
    async fn a_map_arrives_whole_and_one_that_is_not_read_costs_its_connection() {
        let connection = Arc::new(Connection::new(MachineKey::from_bytes([1; 32]), None, None));
        let places = Places::new("maps", 1);
        for len in [0, 1, PIECE, PIECE + 1, 10 * PIECE] {
            let body = map(&connection, &places, len).collect().await.unwrap().to_bytes();
            assert_eq!(body, vec![7; len]);
        }
        let began = tokio::time::Instant::now();
        let _unread = map(&connection, &places, 1);
        connection.closed().await;
        assert_eq!(began.elapsed().as_secs(), STALLED.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_map_whose_place_is_lost_ends_with_an_error() {
        let connection = Arc::new(Connection::new(MachineKey::from_bytes([1; 32]), None, None));
        let places = Places::new("maps", 1);
        let mut older = map(&connection, &places, 10 * PIECE);
        older.frame().await.unwrap().unwrap();
        let _newer = map(&connection, &places, 1);
        assert!(older.collect().await.is_err());
    }
}
