//! The nouns of a tailnet. They guard their own invariants and decide nothing else.

pub mod alloc;
pub mod key;
pub mod name;
pub mod node;
pub mod policy;
pub mod settings;
pub mod ssh_check;
pub mod ticket;
pub mod user;
