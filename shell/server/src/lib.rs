//! Listeners, control protocol, relay, admin API and pages.

pub mod config;
