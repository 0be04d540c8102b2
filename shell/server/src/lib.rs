//! Listeners, control protocol, relay, admin API and pages.

pub mod app;
pub mod clerk;
pub mod clock;
pub mod config;
pub mod control;
pub mod files;
pub mod keys;
pub mod listen;
pub mod login;
pub mod relay;
pub mod relay_pages;
pub mod tls;
