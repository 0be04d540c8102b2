//! Access to the operating system and the network: files, key files, the clock, randomness, and HTTP fetches.

pub mod clock;
pub mod fetch;
pub mod files;
pub mod keys;
pub mod random;
pub mod seldom;
