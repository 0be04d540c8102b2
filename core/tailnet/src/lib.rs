//! Everything a tailnet is, everything that may happen to it, and what each node should know.
//!
//! [`tailnet::Tailnet`] is the one value; [`decide::decide`] turns a [`command::Command`] into [`change::Change`]s;
//! [`project::project`] says what a node ought to know, and [`delta::Step`] what it has to be told for that.

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
pub mod table;
pub mod tailnet;
pub mod user_names;
pub mod view;
