//! The map of relays that clients get: fetched maps, then map files, then the relay inside this server.
//!
//! A map that cannot be fetched never stops a start: the last good one is kept on disk and used in its place.

mod embedded;
mod file;
mod layer;
mod source;

pub(crate) use layer::MAX_REGION_ID;

pub use embedded::{RelayAddress, embedded_region};
pub use source::{MapSource, refresh_loop};
