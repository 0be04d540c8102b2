//! Everything that a tailnet is, everything that can happen to it, and what each node should know.
//!
//! [`tailnet::Tailnet`] is the one value. [`decide::decide`] turns a [`command::Command`] into [`change::Change`]s, or rejects it.
//! [`project::project`] is everything that a node should know, and [`delta::Step`] what it is sent when that changes.

#![warn(clippy::wildcard_enum_match_arm)]

pub mod access;
pub mod actor;
pub mod batch;
pub mod change;
pub mod command;
pub mod commit;
pub mod deadline;
pub mod decide;
pub mod delta;
pub mod feed;
pub mod model;
pub mod nextdns;
pub mod project;
pub mod rejection;
pub mod table;
pub mod tailnet;
pub mod user_names;
pub mod view;
