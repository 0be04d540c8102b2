//! Load generator: thousands of protocol clients in one process, against any control server of the official clients.
//!
//! [`client`] is one node as the server sees it: keys, a Noise connection, HTTP/2, a map stream. [`fleet`] holds many.
//! [`scenario`] has the loads, each bounded and measured; [`suite`] starts a server and runs them all. Loopback only.

pub mod client;
pub mod fleet;
pub mod measure;
pub mod report;
pub mod scenario;
pub mod suite;

/// Why a load could not be run, for people.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// What a step of a load gives.
pub type Result<T> = std::result::Result<T, Error>;
