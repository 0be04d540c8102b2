//! The frames of a map stream.

use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::Result;

/// Maximum length of a frame.
const MAX_FRAME: usize = 64 << 20;

/// Splits a response body into frames.
pub struct StreamReader {
    body: Incoming,
    pending: BytesMut,
}

/// One frame of a map stream, still compressed.
pub struct Received {
    /// When its last byte arrived.
    pub at: Instant,
    pub payload: Bytes,
}

impl StreamReader {
    pub fn new(body: Incoming) -> StreamReader {
        StreamReader { body, pending: BytesMut::new() }
    }

    /// Waits for the next frame; `None` when the server has ended the stream.
    ///
    /// # Errors
    /// The connection broke, or a frame is too large.
    pub async fn next(&mut self) -> Result<Option<Received>> {
        loop {
            if let Some(payload) = self.complete()? {
                return Ok(Some(Received { at: Instant::now(), payload }));
            }
            match self.body.frame().await.transpose()? {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame.into_data() {
                        self.pending.extend_from_slice(&data);
                    }
                }
            }
        }
    }

    fn complete(&mut self) -> Result<Option<Bytes>> {
        let Some(header) = self.pending.first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_le_bytes(*header) as usize;
        if len > MAX_FRAME {
            return Err(format!("a frame of {len} bytes is too large").into());
        }
        if self.pending.len() < 4 + len {
            return Ok(None);
        }
        self.pending.advance(4);
        let payload = self.pending.split_to(len).freeze();
        if self.pending.is_empty() {
            self.pending = BytesMut::new();
        }
        Ok(Some(payload))
    }
}
