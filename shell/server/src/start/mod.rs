//! From a command line to a running server, and back: what is put together, opened, greeted with, and rehearsed.

mod configured;
pub mod rehearse;
pub mod run;
mod sockets;
mod welcome;

/// Why the server did not start, or stopped, in words for the operator.
pub type ServeError = Box<dyn std::error::Error + Send + Sync>;
