//! What the operating system gives: files, keys in files, time and chance.

pub mod clock;
pub mod files;
pub mod keys;
pub mod random;
