//! Road 6: frames of a map stream as bytes: JSON, compressed with zstd if the client asked for it, after a little-endian length.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use headsail_policy::ClassKey;
use headsail_tailnet::delta::Step;
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::map::MapResponse;

/// zstd at level 1: on maps, level 3 is slower and no smaller.
const ZSTD_LEVEL: i32 = 1;

/// How the frames of a client are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compression {
    Plain,
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

/// A frame could not be rendered, as without memory. Its stream ends, and the client reconnects for a full map: a stream with
/// a frame missing would be worse than none.
#[derive(Debug)]
pub struct CannotEncode;

impl From<serde_json::Error> for CannotEncode {
    fn from(_: serde_json::Error) -> CannotEncode {
        CannotEncode
    }
}

impl From<io::Error> for CannotEncode {
    fn from(_: io::Error) -> CannotEncode {
        CannotEncode
    }
}

/// One frame with its length in front.
///
/// # Errors
/// [`CannotEncode`]: the stream has to end.
pub fn frame(response: &MapResponse, compression: Compression) -> Result<Bytes, CannotEncode> {
    framed(&[encode(serde_json::to_vec(response)?, compression)?])
}

/// Text in the encoding of a client. Several of these in a row make one frame.
pub(super) fn encode(text: Vec<u8>, compression: Compression) -> Result<Bytes, CannotEncode> {
    match compression {
        Compression::Plain => Ok(text.into()),
        Compression::Zstd => COMPRESSOR.with_borrow_mut(|slot| {
            let compressor = match slot {
                Some(compressor) => compressor,
                None => slot.insert(zstd::bulk::Compressor::new(ZSTD_LEVEL)?),
            };
            Ok(compressor.compress(&text)?.into())
        }),
    }
}

/// Encoded parts in a row, after the length of all of them.
pub(super) fn framed(parts: &[Bytes]) -> Result<Bytes, CannotEncode> {
    let len: usize = parts.iter().map(Bytes::len).sum();
    let prefix = u32::try_from(len).map_err(|_| CannotEncode)?.to_le_bytes();
    let mut out = Vec::with_capacity(prefix.len() + len);
    out.extend_from_slice(&prefix);
    for part in parts {
        out.extend_from_slice(part);
    }
    Ok(out.into())
}

/// A keep-alive. Its bytes are always the same: clients compare them instead of parsing them.
///
/// # Errors
/// [`CannotEncode`]: the stream has to end.
pub fn keep_alive(compression: Compression) -> Result<Bytes, CannotEncode> {
    framed(&[encode(br#"{"KeepAlive":true}"#.to_vec(), compression)?])
}

/// How many steps between two snapshots are kept for streams that have yet to take them.
const SHARED_STEPS: usize = 32;
/// How many of them may change the policy: rows are shared between snapshots, but each of these keeps a policy in memory.
const SHARED_POLICY_STEPS: usize = 3;
/// How many rendered frames of one step are kept; for further classes, each stream renders its own.
const SHARED_FRAMES: usize = 1024;

/// Which viewers are sent the same bytes: those of one class, then and now, with the same encoding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShareKey {
    /// The class in the snapshot that was sent before.
    pub then: ClassKey,
    /// The class in the snapshot that is sent now.
    pub now: ClassKey,
    pub compression: Compression,
}

/// A step between two snapshots, and the frames rendered for it.
pub struct SharedStep {
    /// The snapshots themselves: their revisions alone would not tell two tailnets apart.
    between: (Arc<Tailnet>, Arc<Tailnet>),
    pub step: Step,
    frames: Mutex<BTreeMap<ShareKey, Option<Bytes>>>,
}

impl SharedStep {
    /// The frame for `key`, rendered by `render` unless another stream has done so already. `None` if there is nothing to send.
    ///
    /// # Errors
    /// The error of `render`.
    pub fn frame(
        &self,
        key: ShareKey,
        render: impl FnOnce() -> Result<Option<Bytes>, CannotEncode>,
    ) -> Result<Option<Bytes>, CannotEncode> {
        // A poisoned lock means that another thread panicked; the frames in the map are complete all the same.
        let frames = || self.frames.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(known) = frames().get(&key) {
            return Ok(known.clone());
        }
        let bytes = render()?;
        let mut frames = frames();
        if frames.len() < SHARED_FRAMES {
            frames.insert(key, bytes.clone());
        }
        Ok(bytes)
    }
}

/// The steps that the streams of one tailnet are taking.
#[derive(Default)]
pub struct Encoder {
    steps: Mutex<VecDeque<Arc<SharedStep>>>,
}

impl Encoder {
    /// The step from one snapshot to another. The first stream that takes it compares them, under the lock: all others need the
    /// result, and would otherwise do the same work at the same time.
    pub fn step(&self, then: &Arc<Tailnet>, now: &Arc<Tailnet>) -> Arc<SharedStep> {
        let is_known =
            |s: &&Arc<SharedStep>| Arc::ptr_eq(&s.between.0, then) && Arc::ptr_eq(&s.between.1, now);
        let mut steps = self.steps.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(known) = steps.iter().rev().find(is_known) {
            return known.clone();
        }
        let step = Step::new(then.clone(), now.clone());
        let between = (then.clone(), now.clone());
        let step = Arc::new(SharedStep { between, step, frames: Mutex::default() });
        steps.push_back(step.clone());
        while steps.len() > SHARED_STEPS || policy_steps(&steps) > SHARED_POLICY_STEPS {
            steps.pop_front();
        }
        step
    }
}

fn policy_steps(steps: &VecDeque<Arc<SharedStep>>) -> usize {
    steps.iter().filter(|s| s.step.changes_policy()).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use headsail_tailnet::command::{Command, Env};
    use headsail_tailnet::decide::decide;
    use headsail_tailnet::model::settings::Settings;
    use headsail_wire::time::Time;

    #[test]
    fn only_a_few_old_policies_stay_in_memory() {
        let encoder = Encoder::default();
        let mut now = Arc::new(Tailnet::empty(Arc::new(Settings::basic())));
        let mut policies = Vec::new();
        for n in 1..=20 {
            let text = format!(r#"{{"hosts": {{"h": "10.0.0.{n}"}}}}"#);
            let mut zero = |buffer: &mut [u8]| buffer.fill(7);
            let mut env = Env { now: Time::from_secs(1_000_000), rng: &mut zero };
            let changes = decide(&now, &Command::SetPolicy { text, kept: true }, &mut env);
            let then = now.clone();
            Arc::make_mut(&mut now).apply(&changes.unwrap_or_else(|r| panic!("{}", r.text())));
            policies.push(Arc::downgrade(now.access().engine().policy()));
            encoder.step(&then, &now);
        }
        let alive = policies.iter().filter(|p| p.upgrade().is_some()).count();
        assert_eq!(alive, SHARED_POLICY_STEPS + 1);
    }

    #[test]
    fn steps_of_two_tailnets_are_not_shared_even_if_their_revisions_coincide() {
        let encoder = Encoder::default();
        let steps = [(); 2].map(|()| {
            let empty = || Arc::new(Tailnet::empty(Arc::new(Settings::basic())));
            let (then, now) = (empty(), empty());
            let step = encoder.step(&then, &now);
            assert!(Arc::ptr_eq(&step, &encoder.step(&then, &now)));
            step
        });
        assert!(!Arc::ptr_eq(&steps[0], &steps[1]));
    }
}
