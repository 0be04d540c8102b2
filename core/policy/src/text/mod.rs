//! From HuJSON text to a checked [`document::Document`]: `hujson` makes a tree, `read` a document, `check` and `size` find
//! what is wrong with it. Nothing here knows the users or nodes of a tailnet, and nothing here may panic: anyone who may
//! propose a policy chooses the bytes.

#![warn(clippy::indexing_slicing)]

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
