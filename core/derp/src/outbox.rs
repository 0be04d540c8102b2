//! The outgoing frames of one connection: bounded queues of whole frames, the most urgent first.

use std::collections::VecDeque;

use crate::frame::{Frame, HEADER_LEN, Header};
use crate::limits::*;

/// Whole frames, ready to be written: at most [`CHUNK`] bytes, or a single longer frame.
pub struct Chunk {
    bytes: Vec<u8>,
    start: usize,
    frames: usize,
}

impl Chunk {
    /// The bytes that remain to be written.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Marks the first `n` bytes as written.
    pub fn advance(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.bytes.len());
    }
}

/// Empty buffers for reuse, shared by all queues of a relay.
#[derive(Default)]
pub(crate) struct Spare(Vec<Vec<u8>>);

impl Spare {
    fn get(&mut self) -> Chunk {
        Chunk { bytes: self.0.pop().unwrap_or_default(), start: 0, frames: 0 }
    }

    /// Takes back a chunk that has been written. Small buffers are not worth keeping.
    pub(crate) fn put(&mut self, chunk: Chunk) {
        let mut bytes = chunk.bytes;
        if self.0.len() < MAX_SPARE_CHUNKS && (CHUNK / 4..=2 * CHUNK).contains(&bytes.capacity()) {
            bytes.clear();
            self.0.push(bytes);
        }
    }
}

/// The limits of one queue.
#[derive(Clone, Copy)]
pub(crate) struct Bound {
    pub(crate) frames: usize,
    pub(crate) bytes: usize,
}

const NOTICES: Bound = Bound { frames: usize::MAX, bytes: MAX_NOTICE_BYTES };
const DISCO: Bound = Bound { frames: MAX_DISCO_PACKETS, bytes: MAX_DISCO_BYTES };
pub(crate) const DATA: Bound = Bound { frames: MAX_DATA_PACKETS, bytes: MAX_DATA_BYTES };
pub(crate) const DATA_WHEN_SCARCE: Bound = Bound { frames: MAX_DATA_PACKETS, bytes: MAX_SCARCE_BYTES };

/// Whole frames in order; if there are too many, the oldest are dropped.
#[derive(Default)]
struct Queue {
    chunks: VecDeque<Chunk>,
    frames: usize,
    bytes: usize,
}

impl Queue {
    /// Appends the frame that consists of `parts` and returns how many old frames were dropped.
    fn push(&mut self, spare: &mut Spare, bound: Bound, parts: &[&[u8]]) -> usize {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if self.chunks.back().is_none_or(|last| last.bytes.len() + len > CHUNK) {
            self.chunks.push_back(spare.get());
        }
        if let Some(last) = self.chunks.back_mut() {
            for part in parts {
                last.bytes.extend_from_slice(part);
            }
            last.frames += 1;
            self.frames += 1;
            self.bytes += len;
        }
        let mut dropped = 0;
        while self.frames > bound.frames || self.bytes > bound.bytes {
            self.drop_oldest(spare);
            dropped += 1;
        }
        dropped
    }

    fn drop_oldest(&mut self, spare: &mut Spare) {
        let Some(first) = self.chunks.front_mut() else { return };
        let len = Header::read(first.bytes()).map_or(0, |header| HEADER_LEN + header.len as usize);
        first.advance(len);
        first.frames -= 1;
        self.frames -= 1;
        self.bytes -= len;
        if first.frames == 0
            && let Some(empty) = self.chunks.pop_front()
        {
            spare.put(empty);
        }
    }

    fn pop(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.pop_front()?;
        self.frames -= chunk.frames;
        self.bytes -= chunk.bytes().len();
        Some(chunk)
    }
}

/// The outgoing queues of one connection.
#[derive(Default)]
pub(crate) struct Outbox {
    pong: Option<[u8; 8]>,
    notices: Queue,
    disco: Queue,
    data: Queue,
}

impl Outbox {
    /// Bytes in all queues.
    pub(crate) fn bytes(&self) -> usize {
        self.notices.bytes + self.disco.bytes + self.data.bytes
    }

    /// Queues the answer to a ping. At most one is queued; a ping that comes before it is sent gets no answer.
    pub(crate) fn pong(&mut self, data: [u8; 8]) {
        self.pong.get_or_insert(data);
    }

    /// Queues a notice and returns how many old ones were dropped, like [`Outbox::disco`] and [`Outbox::data`].
    pub(crate) fn notice(&mut self, spare: &mut Spare, frame: &Frame<'_>) -> usize {
        self.notices.push(spare, NOTICES, &[&frame.to_vec()])
    }

    pub(crate) fn disco(&mut self, spare: &mut Spare, parts: &[&[u8]]) -> usize {
        self.disco.push(spare, DISCO, parts)
    }

    pub(crate) fn data(&mut self, spare: &mut Spare, bound: Bound, parts: &[&[u8]]) -> usize {
        self.data.push(spare, bound, parts)
    }

    /// Removes the most urgent chunk: notices come first, then disco packets, then other packets.
    pub(crate) fn pop(&mut self, spare: &mut Spare) -> Option<Chunk> {
        if let Some(data) = self.pong.take() {
            self.notice(spare, &Frame::Pong(data));
        }
        self.notices.pop().or_else(|| self.disco.pop()).or_else(|| self.data.pop())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headsail_wire::keys::NodeKey;

    fn packet(n: u32, len: usize) -> Vec<u8> {
        let mut body = n.to_be_bytes().to_vec();
        body.resize(len, 0);
        Frame::RecvPacket(NodeKey::from_bytes([7; 32]), &body).to_vec()
    }

    fn numbers(outbox: &mut Outbox, spare: &mut Spare) -> Vec<u32> {
        let mut found = Vec::new();
        while let Some(chunk) = outbox.pop(spare) {
            let mut bytes = chunk.bytes();
            while let Some((frame, len)) = Frame::decode(bytes).unwrap() {
                if let Frame::RecvPacket(_, body) = frame {
                    found.push(u32::from_be_bytes(*body.first_chunk().unwrap()));
                }
                bytes = &bytes[len..];
            }
            assert!(bytes.is_empty(), "a chunk holds whole frames");
            spare.put(chunk);
        }
        found
    }

    #[test]
    fn the_oldest_packets_are_dropped_when_there_are_too_many() {
        let (mut outbox, mut spare) = (Outbox::default(), Spare::default());
        let dropped: usize = (0..600).map(|n| outbox.data(&mut spare, DATA, &[&packet(n, 1400)])).sum();
        assert_eq!(dropped, 600 - MAX_DATA_PACKETS);
        let kept = numbers(&mut outbox, &mut spare);
        assert_eq!(kept, (600 - MAX_DATA_PACKETS as u32..600).collect::<Vec<_>>());
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn the_oldest_packets_are_dropped_when_they_take_too_many_bytes() {
        let (mut outbox, mut spare) = (Outbox::default(), Spare::default());
        for n in 0..40 {
            outbox.data(&mut spare, DATA, &[&packet(n, MAX_PACKET)]);
            assert!(outbox.bytes() <= MAX_DATA_BYTES);
        }
        let kept = numbers(&mut outbox, &mut spare);
        assert_eq!(kept, (25..40).collect::<Vec<_>>());
    }

    #[test]
    fn disco_packets_overtake_data_and_are_never_dropped_for_it() {
        let (mut outbox, mut spare) = (Outbox::default(), Spare::default());
        outbox.disco(&mut spare, &[&packet(1_000_000, 100)]);
        for n in 0..2000 {
            outbox.data(&mut spare, DATA, &[&packet(n, 1400)]);
        }
        outbox.disco(&mut spare, &[&packet(1_000_001, 100)]);
        let kept = numbers(&mut outbox, &mut spare);
        assert_eq!(kept[..2], [1_000_000, 1_000_001]);
        assert_eq!(kept.len(), 2 + MAX_DATA_PACKETS);
    }

    #[test]
    fn at_most_one_pong_is_queued() {
        let (mut outbox, mut spare) = (Outbox::default(), Spare::default());
        outbox.pong(*b"01234567");
        outbox.pong(*b"abcdefgh");
        let chunk = outbox.pop(&mut spare).unwrap();
        assert_eq!(chunk.bytes(), Frame::Pong(*b"01234567").to_vec());
        assert!(outbox.pop(&mut spare).is_none());
    }

    #[test]
    fn spare_memory_is_bounded() {
        let mut spare = Spare::default();
        for capacity in [10, CHUNK, 10 * CHUNK].repeat(MAX_SPARE_CHUNKS + 5) {
            spare.put(Chunk { bytes: Vec::with_capacity(capacity), start: 0, frames: 0 });
        }
        assert_eq!(spare.0.len(), MAX_SPARE_CHUNKS);
        assert!(spare.0.iter().map(Vec::capacity).sum::<usize>() <= MAX_SPARE_CHUNKS * 2 * CHUNK);
    }
}
