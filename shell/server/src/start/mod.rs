//! Startup and shutdown: assembling the server, opening its sockets, the welcome text, and the dry run of `configtest`.

mod configured;
pub mod rehearse;
pub mod run;
mod sockets;
mod welcome;
