//! A deterministic world around core/tailnet: model clients, a store that fails, a process that dies, and what must
//! hold whatever happens.
//!
//! One seed drives everything. [`run::history`] plays the seed's history with the checks that are asked for;
//! [`run::hold`] plays many, and says how to repeat the one that fails. [`parts::Parts`] are the pieces of the server
//! that can be exchanged for broken ones, to prove that the checks notice.

pub mod acts;
pub mod check;
pub mod clerk;
pub mod disk;
pub mod law;
pub mod machine;
pub mod parts;
pub mod rng;
pub mod run;
pub mod settings;
pub mod stream;
pub mod world;
