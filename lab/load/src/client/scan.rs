//! Cheap decoding: which nodes a frame mentions, and which probe endpoint it contains.
//!
//! Thousands of viewers receive the same frame, so the results for the last few small frames are cached by their bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use headsail_netmap::NetMap;
use headsail_netmap::apply::apply;
use headsail_wire::keys::{NodeKey, unhex32};
use headsail_wire::map::MapResponse;
use memchr::memmem::Finder;

use crate::Result;
use crate::client::Identity;

/// Results are cached for frames of up to this many bytes, and for this many of them.
const SMALL: usize = 4096;
const REMEMBERED: usize = 32;
/// Maximum length of a decompressed frame.
const MAX_DECODED: usize = 256 << 20;

/// The facts in a frame that loads need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Whether it is only a keep-alive.
    pub keep_alive: bool,
    /// The nodes of the fleet whose keys it contains.
    pub nodes: Vec<u32>,
    /// The highest number of a probe endpoint in it.
    pub probe: Option<u16>,
}

/// Decodes frames and finds the fleet's keys in them.
pub struct Directory {
    index: HashMap<[u8; 32], u32>,
    key: Finder<'static>,
    probe: Finder<'static>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    decoder: Option<zstd::bulk::Decompressor<'static>>,
    decoded: Vec<u8>,
    recent: VecDeque<(Box<[u8]>, Arc<Scan>)>,
}

impl Directory {
    pub fn new(identities: &[Identity]) -> Directory {
        let index = identities.iter().zip(0u32..).map(|(i, n)| (*i.node_key.bytes(), n)).collect();
        Directory {
            index,
            key: Finder::new(b"nodekey:"),
            probe: Finder::new(b"\"198.51.100.7:"),
            state: Mutex::default(),
        }
    }

    /// Scans one frame of a map stream.
    ///
    /// # Errors
    /// The frame is not zstd, or too large.
    pub fn scan(&self, frame: &[u8]) -> Result<Arc<Scan>> {
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        if let Some((_, scan)) = state.recent.iter().rev().find(|(bytes, _)| **bytes == *frame) {
            return Ok(scan.clone());
        }
        let state = &mut *state;
        let json = decode(&mut state.decoder, &mut state.decoded, frame)?;
        let scan = Arc::new(self.search(json));
        if frame.len() <= SMALL {
            if state.recent.len() >= REMEMBERED {
                state.recent.pop_front();
            }
            state.recent.push_back((frame.into(), scan.clone()));
        }
        Ok(scan)
    }

    /// The decompressed length of a frame.
    ///
    /// # Errors
    /// The frame is not zstd, or too large.
    pub fn text_len(&self, frame: &[u8]) -> Result<usize> {
        self.with_text(frame, |text| Ok(text.len()))
    }

    /// Applies a frame to a view, as a client does.
    ///
    /// # Errors
    /// The frame is invalid, or does not fit the view.
    pub fn apply(&self, view: &mut Option<NetMap>, frame: &[u8]) -> Result<()> {
        self.with_text(frame, |text| {
            let response: MapResponse = serde_json::from_slice(text)?;
            apply(view, response).map_err(|unfit| format!("a frame does not fit the view: {unfit:?}").into())
        })
    }

    fn with_text<T>(&self, frame: &[u8], read: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        let state = &mut *state;
        read(decode(&mut state.decoder, &mut state.decoded, frame)?)
    }

    fn search(&self, json: &[u8]) -> Scan {
        let key_at = |at: usize| {
            let text = std::str::from_utf8(json.get(at + NodeKey::PREFIX.len()..)?.get(..64)?).ok()?;
            self.index.get(&unhex32(text)?).copied()
        };
        let port_at = |at: usize| {
            let digits = json.get(at + self.probe.needle().len()..)?.split(|b| !b.is_ascii_digit()).next()?;
            std::str::from_utf8(digits).ok()?.parse().ok()
        };
        Scan {
            keep_alive: json.len() < 64 && memchr::memmem::find(json, b"\"KeepAlive\":true").is_some(),
            nodes: self.key.find_iter(json).filter_map(key_at).collect(),
            probe: self.probe.find_iter(json).filter_map(port_at).max(),
        }
    }
}

/// Decompresses into a buffer that is reused and grows as needed, because a frame need not state its decompressed length.
fn decode<'a>(
    decoder: &mut Option<zstd::bulk::Decompressor<'static>>,
    decoded: &'a mut Vec<u8>,
    frame: &[u8],
) -> Result<&'a [u8]> {
    let decoder = match decoder {
        Some(decoder) => decoder,
        None => decoder.insert(zstd::bulk::Decompressor::new()?),
    };
    loop {
        decoded.clear();
        match decoder.decompress_to_buffer(frame, decoded) {
            Ok(_) => return Ok(decoded),
            Err(error) if !is_too_small(&error) || decoded.capacity() >= MAX_DECODED => {
                return Err(error.into());
            }
            Err(_) => decoded.reserve((decoded.capacity() * 2).max(1 << 20)),
        }
    }
}

/// Whether a larger buffer would help. The library reports this only in the text of its error.
fn is_too_small(error: &std::io::Error) -> bool {
    error.to_string().contains("too small")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(n: usize) -> (Vec<Identity>, Directory) {
        let identities: Vec<Identity> = (0..n).map(|i| Identity::new(i).unwrap()).collect();
        let directory = Directory::new(&identities);
        (identities, directory)
    }

    #[test]
    fn keys_and_probes_are_found_in_any_frame() {
        let (identities, directory) = directory(3);
        let json = format!(
            r#"{{"Peers":[{{"Key":"{}","Endpoints":["198.51.100.7:12","198.51.100.7:9"]}},{{"Key":"nodekey:{}"}},{{"Key":"{}"}}]}}"#,
            identities[2].node_key,
            "0".repeat(64),
            identities[0].node_key,
        );
        let halves = json.split_at(40);
        let frames = [
            zstd::bulk::compress(halves.0.as_bytes(), 1).unwrap(),
            zstd::bulk::compress(halves.1.as_bytes(), 1).unwrap(),
        ];
        let expected = Scan { keep_alive: false, nodes: vec![2, 0], probe: Some(12) };
        for _ in 0..2 {
            assert_eq!(*directory.scan(&frames.concat()).unwrap(), expected);
        }
    }

    #[test]
    fn frames_larger_than_the_buffer_are_decoded() {
        let (identities, directory) = directory(1);
        let json = format!("{}{}", " ".repeat(5 << 20), identities[0].node_key);
        let frame = zstd::bulk::compress(json.as_bytes(), 1).unwrap();
        assert_eq!(directory.scan(&frame).unwrap().nodes, [0]);
    }

    #[test]
    fn keep_alives_are_recognised_and_garbage_is_an_error() {
        let (_, directory) = directory(1);
        let frame = zstd::bulk::compress(br#"{"KeepAlive":true}"#, 1).unwrap();
        assert!(directory.scan(&frame).unwrap().keep_alive);
        assert!(directory.scan(b"not zstd").is_err());
    }
}
