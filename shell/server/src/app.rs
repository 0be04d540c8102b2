//! What request handlers receive: the parts that a process has once, and those of one tailnet.
//!
//! A handler takes as its state only the part that it needs; both can be extracted from an [`App`].

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::FromRef;
use headsail_noise::Responder;
use headsail_tailnet::model::node::StreamNo;
use headsail_wire::ids::NodeId;
use headsail_wire::keys::MachineKey;

use crate::admin::checks::Checks;
use crate::clerk::Clerk;
use crate::clerk::health::Health;
use crate::config;
use crate::control::bodies::Bodies;
use crate::control::connection::Unread;
use crate::control::places::Places;
use crate::control::{map, register};
use crate::frames::encode::Encoder;
use crate::frames::full_map::FullMaps;
use crate::relay::Relay;

/// A process and the tailnet that it serves on a set of listeners.
#[derive(Clone)]
pub struct App {
    /// The configuration.
    /// The way to the tailnet.
    /// Our side of Noise handshakes.
    pub process: Arc<Process>,
    pub tailnet: Arc<TailnetService>,
}

impl FromRef<App> for Arc<Process> {
    fn from_ref(app: &App) -> Arc<Process> {
        app.process.clone()
    }
}

impl FromRef<App> for Arc<TailnetService> {
    fn from_ref(app: &App) -> Arc<TailnetService> {
        app.tailnet.clone()
    }
}

pub struct Process {
    pub noise: Responder,
    /// The embedded relay, if one is configured.
    pub relay: Option<Relay>,
    /// What machines have sent on control connections and is not answered yet.
    pub bodies: Arc<Bodies>,
}

/// One tailnet as it is served. Nothing in here is shared with another tailnet.
pub struct TailnetService {
    /// The writer of the tailnet, and its snapshots.
    pub clerk: Clerk,
    /// Whether changes can be saved.
    pub health: Health,
    /// Deltas that several streams are sent.
    pub encoder: Encoder,
    /// First frames of map streams, and the pieces that they share.
    pub full_maps: FullMaps,
    /// Where the policy comes from.
    pub policy: config::Policy,
    /// The URL that clients use, without a slash at its end.
    pub url: String,
    /// Requests that wait for a pending registration.
    pub followups: Places<MachineKey>,
    /// Maps that are being sent, apart from the one stream that makes a node online.
    pub maps: Places<NodeId>,
    /// Control connections that were closed because their client did not read its maps.
    pub unread: Unread,
    /// Policies that are being checked.
    pub checks: Checks,
    streams: AtomicU64,
}

/// Puts the parts together.
impl TailnetService {
    pub fn new(clerk: Clerk, url: String, policy: config::Policy) -> TailnetService {
        TailnetService {
            health: Health::of(clerk.clone()),
            clerk,
            encoder: Encoder::default(),
            full_maps: FullMaps::default(),
            policy,
            url,
            followups: Places::new("requests that wait for a login", register::MAX_FOLLOWUPS),
            maps: Places::new("unfinished maps", map::MAX_MAPS),
            unread: Unread::default(),
            checks: Checks::default(),
            streams: AtomicU64::new(1),
        }
    }

    /// A number for a new map stream.
    pub fn next_stream(&self) -> StreamNo {
        StreamNo(self.streams.fetch_add(1, Ordering::Relaxed))
    }

    /// The page about an SSH session that needs approval.
    pub fn check_url(&self, check: &str) -> String {
        format!("{}/auth/{check}", self.url)
    }

    /// The page where the user of a pending registration learns how to have it approved.
    pub fn register_url(&self, ticket: &str) -> String {
        format!("{}/register/{ticket}", self.url)
    }
}
