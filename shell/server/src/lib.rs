//! Listeners, control protocol, relay, admin API and pages.

// These macros panic where the output is closed or full.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod admin;
pub mod app;
pub mod clerk;
pub mod config;
pub mod control;
pub mod derp_map;
pub mod dns;
pub mod frames;
pub mod http;
pub mod listen;
pub mod login;
pub mod policy_file;
pub mod relay;
pub mod start;
pub mod system;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod version;

pub use start::run::{Ended, serve};
