//! Load generator: thousands of protocol clients in one process, for any control server that the official clients can use.
//!
//! [`client`] is one node as the server sees it: keys, a Noise connection, HTTP/2, a map stream. [`fleet`] holds many of
//! them. [`scenario`] has the loads, each bounded and measured; [`suite`] starts a server and runs them all. Only loopback
//! addresses are accepted as targets.

pub mod client;
pub mod fleet;
pub mod measure;
pub mod report;
pub mod scenario;
pub mod suite;

/// Why a load failed, as a message to print.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
pub type Result<T> = std::result::Result<T, Error>;
