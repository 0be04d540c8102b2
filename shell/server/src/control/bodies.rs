//! Request bodies on control connections: how large each may be, and all of them together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes};
use axum::http::{Response, StatusCode};
use headsail_wire::hostinfo::Hostinfo;
use headsail_wire::json;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::reply::text;
use crate::listen::{BODY_TIMEOUT, TooSlow};
use crate::system::seldom::Seldom;

/// Largest body of a machine that has a node, in bytes. Refusals name it.
const MAX_BODY: usize = 1024 * 1024;
/// Largest body of a machine without a node, in bytes: a login with everything that clients report needs a tenth of this.
const MAX_BODY_OF_A_STRANGER: usize = 64 * 1024;
/// Bytes that all machines without a node may have in unfinished requests: 16,000 logins of 2 KiB at once.
const ALL_BODIES_OF_STRANGERS: usize = 32 * 1024 * 1024;
/// The same for machines with a node.
const ALL_BODIES: usize = 128 * 1024 * 1024;
/// JSON values in a body. Parsed, the shortest values take hundreds of times their text.
const MAX_VALUES: usize = 65_536;

/// What all control connections of a process have received and not yet answered.
pub struct Bodies {
    pub strangers: Budget,
    pub members: Budget,
}

impl Default for Bodies {
    fn default() -> Bodies {
        let budget =
            |who, each, all| Budget { who, each, all, held: Arc::default(), line: Seldom::default() };
        Bodies {
            strangers: budget("machines without a node", MAX_BODY_OF_A_STRANGER, ALL_BODIES_OF_STRANGERS),
            members: budget("machines with a node", MAX_BODY, ALL_BODIES),
        }
    }
}

/// A limit on the bytes of unfinished requests. When it is reached, the body that has been arriving for the longest time
/// gives way: honest bodies arrive within moments.
pub struct Budget {
    who: &'static str,
    each: usize,
    all: usize,
    held: Arc<Mutex<Held>>,
    line: Seldom,
}

#[derive(Default)]
struct Held {
    bytes: usize,
    next: u64,
    /// Bodies that are still arriving, the oldest first: they can give way.
    arriving: BTreeMap<u64, Arriving>,
    /// The sizes of those that have arrived, and are being answered.
    arrived: BTreeMap<u64, usize>,
    refused: u64,
}

struct Arriving {
    bytes: usize,
    /// Dropped when the body has to give way.
    _ends: oneshot::Sender<()>,
}

fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Budget {
    /// Bytes of requests that are not finished.
    pub fn bytes(&self) -> usize {
        lock(&self.held).bytes
    }

    /// Requests that were refused because all together held too much.
    pub fn refused(&self) -> u64 {
        lock(&self.held).refused
    }

    /// Reads a body. The response says why it was not read.
    pub(super) async fn read(&self, body: Incoming) -> Result<Received, Response<Body>> {
        let (share, gives_way) = self.share();
        tokio::select! {
            read = tokio::time::timeout(BODY_TIMEOUT, self.collect(body, share)) => match read {
                Ok(read) => read,
                Err(_) => Err(text(StatusCode::REQUEST_TIMEOUT, TooSlow.to_string())),
            },
            _ = gives_way => Err(self.refuse()),
        }
    }

    async fn collect(&self, mut body: Incoming, share: Share) -> Result<Received, Response<Body>> {
        // Copied: a frame may be a small part of a large buffer.
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                let why = "the connection ended in the middle of the request";
                return Err(text(StatusCode::BAD_REQUEST, why));
            };
            let Some(data) = frame.data_ref() else { continue };
            if bytes.len() + data.len() > self.each {
                let why = format!("the request is larger than {} KiB", self.each / 1024);
                return Err(text(StatusCode::PAYLOAD_TOO_LARGE, why));
            }
            if !share.grow(data.len(), self.all) {
                return Err(self.refuse());
            }
            bytes.extend_from_slice(data);
        }
        share.has_arrived();
        Ok(Received { bytes: bytes.into(), _share: Some(share) })
    }

    fn share(&self) -> (Share, oneshot::Receiver<()>) {
        let (ends, gives_way) = oneshot::channel();
        let mut held = lock(&self.held);
        held.next += 1;
        let number = held.next;
        held.arriving.insert(number, Arriving { bytes: 0, _ends: ends });
        (Share { number, held: self.held.clone() }, gives_way)
    }

    fn refuse(&self) -> Response<Body> {
        lock(&self.held).refused += 1;
        if self.line.is_due() {
            let (who, all) = (self.who, self.all / (1024 * 1024));
            tracing::warn!("requests of {who} hold all of their {all} MiB: slow ones are being refused");
        }
        text(StatusCode::SERVICE_UNAVAILABLE, "the server has too many requests; try again later")
    }
}

/// The bytes that one request holds, under its number.
struct Share {
    number: u64,
    held: Arc<Mutex<Held>>,
}

impl Share {
    /// Adds bytes, for which the oldest of the bodies that are arriving give way. False if this one has to.
    fn grow(&self, bytes: usize, all: usize) -> bool {
        let mut held = lock(&self.held);
        while held.bytes + bytes > all {
            let Some((number, oldest)) = held.arriving.pop_first() else { return false };
            held.bytes -= oldest.bytes;
            if number == self.number {
                return false;
            }
        }
        let Some(arriving) = held.arriving.get_mut(&self.number) else { return false };
        arriving.bytes += bytes;
        held.bytes += bytes;
        true
    }

    /// From now on the request is being answered, and gives way no more.
    fn has_arrived(&self) {
        let mut held = lock(&self.held);
        if let Some(arriving) = held.arriving.remove(&self.number) {
            held.arrived.insert(self.number, arriving.bytes);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = lock(&self.held);
        let arriving = held.arriving.remove(&self.number).map(|a| a.bytes);
        let arrived = held.arrived.remove(&self.number);
        held.bytes -= arriving.or(arrived).unwrap_or_default();
    }
}

/// A body that has arrived. Its bytes count until it is dropped: before anything waits for long.
pub struct Received {
    bytes: Bytes,
    _share: Option<Share>,
}

impl Received {
    /// The request in it.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, String> {
        if values(&self.bytes) > MAX_VALUES {
            return Err(format!("it has more than {MAX_VALUES} values"));
        }
        json::decode(&self.bytes).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
impl From<String> for Received {
    fn from(text: String) -> Received {
        Received { bytes: text.into(), _share: None }
    }
}

/// Longest list of a host that is passed on. What is stored of one is shorter.
const LONGEST_LIST: usize = 1024;

/// A host whose lists are cut: what waits for the clerk takes about as much memory as its text did.
pub(super) fn shortened(mut host: Hostinfo) -> Hostinfo {
    fn shorten<T>(list: &mut Vec<T>) {
        if list.len() > LONGEST_LIST {
            list.truncate(LONGEST_LIST);
            list.shrink_to_fit();
        }
    }
    shorten(&mut host.services);
    shorten(&mut host.routable_ips);
    for texts in [&mut host.request_tags, &mut host.wol_macs, &mut host.ssh_host_keys] {
        shorten(texts);
    }
    host
}

/// How many values a JSON text has, at most.
fn values(text: &[u8]) -> usize {
    let (mut count, mut in_text, mut escaped) = (1, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' if !in_text => count += 1,
            _ => {}
        }
    }
    count
}
