//! The DERP map that clients get: fetched maps, then map files, then the embedded relay.
//!
//! A map that cannot be fetched never prevents startup: the last good one is cached on disk and used instead.

mod embedded;
mod file;
mod layer;
mod source;

pub use embedded::{RelayAddress, embedded_region};
pub use source::{MapSource, refresh_loop};
