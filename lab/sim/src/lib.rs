//! A deterministic simulation of core/tailnet: model clients, a store that fails, a process that dies, and the invariants that
//! must hold throughout.
//!
//! Everything follows from one seed. [`run::history`] plays the history of a seed and runs the selected checks; [`run::hold`]
//! plays many histories, and prints the command that repeats a failing one. [`parts::Parts`] are the parts of the server that tests
//! can replace with broken ones, to prove that the checks notice.

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
