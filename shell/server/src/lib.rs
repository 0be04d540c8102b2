//! Listeners, control protocol, relay, admin API and pages.

// These macros panic where the output is closed or full.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod admin;
pub mod app;
pub mod clerk;
pub mod clock;
pub mod config;
mod configured;
pub mod control;
pub mod derp_map;
pub mod dns;
pub mod files;
pub mod health;
pub mod http;
mod journal;
pub mod keys;
pub mod listen;
pub mod login;
pub mod metrics;
pub mod policy_file;
pub mod random;
pub mod rehearse;
pub mod relay;
pub mod relay_pages;
pub mod run;
mod sockets;
#[cfg(test)]
mod testing;
pub mod tls;
mod unread;
pub mod version;
mod welcome;

pub use run::{Ended, ServeOptions, serve};
