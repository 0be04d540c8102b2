//! Startup and shutdown: assembling the server, opening its sockets, the welcome text, and the dry run of `configtest`.

mod configured;
pub mod rehearse;
pub mod run;
mod sockets;
mod welcome;

/// Why the server did not start, or stopped, in words for the operator.
pub type ServeError = Box<dyn std::error::Error + Send + Sync>;
