//! Road 6: frames of a map stream as bytes: JSON, zstd for whoever asks, and a little-endian length in front.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use headsail_policy::ClassKey;
use headsail_wire::map::MapResponse;

/// zstd at level 1: on maps, level 3 is slower and no smaller.
const ZSTD_LEVEL: i32 = 1;

/// How a client wants its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compression {
    /// As JSON.
    Plain,
    /// As zstd of JSON.
    Zstd,
}

impl Compression {
    /// From `MapRequest.Compress`.
    pub fn asked_for(text: &str) -> Compression {
        if text == "zstd" { Compression::Zstd } else { Compression::Plain }
    }
}

thread_local! {
    // A fresh compression context for every frame costs three times as much as the frame.
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
}

/// One frame with its length in front.
pub fn frame(response: &MapResponse, compression: Compression) -> Bytes {
    let json = serde_json::to_vec(response).unwrap_or_default();
    framed(&json, compression)
}

fn framed(json: &[u8], compression: Compression) -> Bytes {
    let compressed = match compression {
        Compression::Plain => None,
        Compression::Zstd => compress(json),
    };
    let payload = compressed.as_deref().unwrap_or(json);
    let mut out = Vec::with_capacity(4 + payload.len());
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(payload);
    out.into()
}

/// One zstd frame of some text; `None` where the library fails, as without memory.
pub(super) fn compress(json: &[u8]) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = zstd::bulk::Compressor::new(ZSTD_LEVEL).ok();
        }
        slot.as_mut()?.compress(json).ok()
    })
}

/// The sign of life. Its bytes are always the same: clients compare them instead of reading them.
pub fn keep_alive(compression: Compression) -> Bytes {
    static FRAMES: std::sync::OnceLock<[Bytes; 2]> = std::sync::OnceLock::new();
    let [plain, zstd] = FRAMES.get_or_init(|| {
        let json = br#"{"KeepAlive":true}"#;
        [framed(json, Compression::Plain), framed(json, Compression::Zstd)]
    });
    match compression {
        Compression::Plain => plain.clone(),
        Compression::Zstd => zstd.clone(),
    }
}

/// How many rendered frames are kept for streams that are about to need the same one.
const SHARED_FRAMES: usize = 64;

/// What makes two streams' deltas the same bytes: the revisions between which they lie, who is told alike, and how.
#[derive(Clone, PartialEq, Eq)]
pub struct ShareKey {
    /// Revision that was told before.
    pub then: u64,
    /// Revision that is told now.
    pub now: u64,
    /// Viewers of one class are told the same of others: the class then and now.
    pub class: (ClassKey, ClassKey),
    /// How it is encoded.
    pub compression: Compression,
}

/// Rendered deltas, shared by all streams that are told the same.
#[derive(Default)]
pub struct Encoder {
    shared: Mutex<VecDeque<(ShareKey, Option<Bytes>)>>,
}

impl Encoder {
    /// The frame for `key`, rendered by `render` unless another stream has done so already. `None` is "nothing to say".
    pub fn shared(&self, key: ShareKey, render: impl FnOnce() -> Option<Arc<MapResponse>>) -> Option<Bytes> {
        // A poisoned lock means that a renderer panicked; the frames in it are whole all the same.
        let find = |frames: &VecDeque<(ShareKey, Option<Bytes>)>| {
            frames.iter().rev().find(|(k, _)| *k == key).map(|(_, bytes)| bytes.clone())
        };
        if let Some(found) = find(&self.shared.lock().unwrap_or_else(|e| e.into_inner())) {
            return found;
        }
        let bytes = render().map(|response| frame(&response, key.compression));
        let mut frames = self.shared.lock().unwrap_or_else(|e| e.into_inner());
        if frames.len() >= SHARED_FRAMES {
            frames.pop_front();
        }
        frames.push_back((key, bytes.clone()));
        bytes
    }
}
