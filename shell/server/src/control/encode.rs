//! Road 6: frames of a map stream as bytes: JSON, zstd for whoever asks, and a little-endian length in front.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use headsail_policy::ClassKey;
use headsail_tailnet::delta::Step;
use headsail_tailnet::tailnet::Tailnet;
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

/// How many steps between two snapshots are kept for streams that are about to take the same one.
const SHARED_STEPS: usize = 32;
/// How many of them may change the policy: rows are shared between snapshots, but each of these holds a policy in memory.
const SHARED_POLICY_STEPS: usize = 3;
/// How many rendered frames of one step are kept; classes beyond that render their own.
const SHARED_FRAMES: usize = 1024;

/// Who is told the same bytes: the viewers of one class, then and now, that want the same encoding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShareKey {
    /// The class in the snapshot that was told before.
    pub then: ClassKey,
    /// The class in the snapshot that is told now.
    pub now: ClassKey,
    /// How it is encoded.
    pub compression: Compression,
}

/// A step between two snapshots, and what was rendered of it.
pub struct SharedStep {
    revisions: (u64, u64),
    /// The step.
    pub step: Step,
    frames: Mutex<BTreeMap<ShareKey, Option<Bytes>>>,
}

impl SharedStep {
    /// The frame for `key`, rendered by `render` unless another stream has done so already. `None` is "nothing to say".
    pub fn frame(&self, key: ShareKey, render: impl FnOnce() -> Option<Bytes>) -> Option<Bytes> {
        // A poisoned lock means that a renderer panicked; the frames in it are whole all the same.
        let frames = || self.frames.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(known) = frames().get(&key) {
            return known.clone();
        }
        let bytes = render();
        let mut frames = frames();
        if frames.len() < SHARED_FRAMES {
            frames.insert(key, bytes.clone());
        }
        bytes
    }
}

/// The steps that streams take at the moment.
#[derive(Default)]
pub struct Encoder {
    steps: Mutex<VecDeque<Arc<SharedStep>>>,
}

impl Encoder {
    /// The step from one snapshot to another, compared once for all streams that take it.
    pub fn step(&self, then: &Arc<Tailnet>, now: &Arc<Tailnet>) -> Arc<SharedStep> {
        let revisions = (then.revision(), now.revision());
        let mut steps = self.steps.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(known) = steps.iter().rev().find(|s| s.revisions == revisions) {
            return known.clone();
        }
        let step = Step::new(then.clone(), now.clone());
        let step = Arc::new(SharedStep { revisions, step, frames: Mutex::default() });
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
    fn few_policies_of_the_past_stay_in_memory() {
        let encoder = Encoder::default();
        let mut now = Arc::new(Tailnet::empty(Arc::new(Settings::basic())));
        let mut policies = Vec::new();
        for n in 1..=20 {
            let text = format!(r#"{{"hosts": {{"h": "10.0.0.{n}"}}}}"#);
            let mut zero = |buffer: &mut [u8]| buffer.fill(7);
            let mut env = Env { now: Time::from_secs(1_000_000), rng: &mut zero };
            let changes = decide(&now, Command::SetPolicy { text, kept: true }, &mut env);
            let then = now.clone();
            Arc::make_mut(&mut now).apply(&changes.unwrap_or_else(|r| panic!("{}", r.text())));
            policies.push(Arc::downgrade(now.access().engine().policy()));
            encoder.step(&then, &now);
        }
        let alive = policies.iter().filter(|p| p.upgrade().is_some()).count();
        assert_eq!(alive, SHARED_POLICY_STEPS + 1);
    }
}
