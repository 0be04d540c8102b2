//! Options of accepted TCP sockets.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// A peer that acknowledges nothing for this long is gone: this is how a pulled cable is noticed.
const USER_TIMEOUT: Duration = Duration::from_secs(20);
/// A silent connection is probed after this long, and this often.
const PROBE_AFTER: Duration = Duration::from_secs(25);
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// Turns off Nagle's algorithm, and makes the system notice peers that are gone.
pub(super) fn tune(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}
