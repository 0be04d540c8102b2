//! What every handler is given.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use headsail_noise::Responder;
use headsail_tailnet::model::node::StreamNo;

use crate::clerk::Clerk;
use crate::clerk::health::Health;
use crate::config::Config;
use crate::control::encode::Encoder;
use crate::control::full_map::FullMaps;
use crate::relay::Relay;

/// Why the server does not start, or stopped; for people.
pub type ServeError = Box<dyn std::error::Error + Send + Sync>;

/// The parts of a running server that handlers need.
pub struct App {
    /// The configuration.
    pub settings: Arc<Config>,
    /// The way to the tailnet.
    pub clerk: Clerk,
    /// Our side of Noise handshakes.
    pub noise: Responder,
    /// The embedded relay, where one runs.
    pub relay: Option<Relay>,
    /// Renders frames of map streams, and shares what is the same for many.
    pub encoder: Encoder,
    /// First frames of map streams.
    pub full_maps: FullMaps,
    /// Whether changes can be saved.
    pub health: Health,
    streams: AtomicU64,
}

impl App {
    /// Puts the parts together.
    pub fn new(settings: Arc<Config>, clerk: Clerk, noise: Responder, relay: Option<Relay>) -> App {
        App {
            settings,
            health: Health::of(clerk.clone()),
            clerk,
            noise,
            relay,
            encoder: Encoder::default(),
            full_maps: FullMaps::default(),
            streams: AtomicU64::new(1),
        }
    }

    /// A number for a new map stream.
    pub fn next_stream(&self) -> StreamNo {
        StreamNo(self.streams.fetch_add(1, Ordering::Relaxed))
    }

    /// The page about an SSH session that needs consent.
    pub fn check_url(&self, check: &str) -> String {
        format!("{}/auth/{check}", self.settings.server_url.text.trim_end_matches('/'))
    }

    /// The page that a person visits to let a machine in.
    pub fn register_url(&self, ticket: &str) -> String {
        format!("{}/register/{ticket}", self.settings.server_url.text.trim_end_matches('/'))
    }
}
