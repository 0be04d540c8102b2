//! What follows from a policy and a tailnet: every question that the server, the command line and the tests ask of an
//! [`Engine`](crate::Engine), and which answers differ between two engines.

pub(crate) mod attrs;
pub(crate) mod comparison;
pub mod eval;
pub(crate) mod explain;
pub(crate) mod filter;
pub(crate) mod notes;
pub(crate) mod peer_changes;
pub(crate) mod policy_tests;
pub(crate) mod preview;
pub(crate) mod reach;
pub mod routes;
pub(crate) mod sources;
pub(crate) mod ssh;
pub(crate) mod tags;
pub(crate) mod verdict;
pub(crate) mod visible;
