//! The control protocol: the Noise upgrade, and what travels inside.

mod answers;
pub mod bodies;
pub mod connection;
pub mod inner;
pub mod key;
pub mod map;
pub mod noise_io;
pub mod ping;
pub mod places;
pub mod register;
mod reply;
pub mod ssh_action;
pub mod stream;
pub mod upgrade;
pub mod verify;
