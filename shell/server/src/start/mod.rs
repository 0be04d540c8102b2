//! From a command line to a running server, and back: what is put together, opened, greeted with, and rehearsed.

mod configured;
pub mod rehearse;
pub mod run;
mod sockets;
mod welcome;
