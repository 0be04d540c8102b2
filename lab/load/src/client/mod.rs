//! One node, as the control server sees it.

mod connection;
mod identity;
mod noise_io;
mod reader;
mod scan;
mod target;

pub use connection::Connection;
pub use identity::{Identity, probe_endpoint};
pub use noise_io::NoiseIo;
pub use reader::{Received, StreamReader};
pub use scan::{Directory, Scan};
pub use target::Target;
