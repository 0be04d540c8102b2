//! From HuJSON text to a checked [`document::Document`]. Nothing here knows a user or a node of a tailnet.

pub(crate) mod check;
pub(crate) mod diag;
pub mod document;
pub(crate) mod fields;
pub(crate) mod format;
pub(crate) mod hujson;
pub(crate) mod ipsets;
pub(crate) mod net;
pub(crate) mod ports;
pub(crate) mod problem;
pub(crate) mod quote;
pub(crate) mod read;
pub(crate) mod selector;
pub(crate) mod size;
pub(crate) mod tags;
