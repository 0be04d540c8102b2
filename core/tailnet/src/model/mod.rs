//! The kinds of rows in a tailnet, and the rules that hold for each on its own. Decisions that involve several rows are in
//! [`crate::decide`].

pub mod alloc;
pub mod key;
pub mod name;
pub mod node;
pub mod policy;
pub mod settings;
pub mod source;
pub mod ssh_check;
pub mod ticket;
pub mod user;
