//! STUN over UDP: every valid request is answered with the address of its sender; anything else is ignored.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use headsail_derp::stun::{parse_request, response};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

/// Datagrams handled before other tasks get a turn.
const BATCH: usize = 64;
/// Longest datagram read, in bytes; those of clients have 40.
const MAX_REQUEST: usize = 1500;
/// Receive buffer of a socket, in bytes, so that a burst of requests is not lost.
const RECEIVE_BUFFER: usize = 1024 * 1024;

/// The counters of the STUN server, for metrics.
#[derive(Default)]
pub struct Counts {
    pub answered: AtomicU64,
    /// Datagrams that were not valid requests.
    pub ignored: AtomicU64,
}

/// Opens the sockets for one configured address: for an unspecified one of either family also the other family with the
/// same port, where the machine has it.
///
/// # Errors
/// Those of the operating system; most often the port is in use.
pub fn bind(addr: SocketAddr) -> io::Result<Vec<UdpSocket>> {
    let first = open(addr)?;
    let mut sockets = vec![];
    if addr.ip().is_unspecified() {
        let other: IpAddr =
            if addr.is_ipv4() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        match open(SocketAddr::from((other, first.local_addr()?.port()))) {
            Ok(socket) => sockets.push(socket),
            Err(error) => tracing::debug!(%error, "STUN over one family only"),
        }
    }
    sockets.insert(0, first);
    Ok(sockets)
}

fn open(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The system may grant less; then shorter bursts are lost.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    UdpSocket::from_std(socket.into())
}

/// Answers on one socket until the task is dropped. Errors of single datagrams are ignored.
pub async fn serve(socket: UdpSocket, counts: Arc<Counts>) -> io::Result<()> {
    let mut buf = [0; MAX_REQUEST];
    loop {
        socket.readable().await?;
        for _ in 0..BATCH {
            match socket.try_recv_from(&mut buf) {
                Ok((len, sender)) => answer(&socket, buf.get(..len).unwrap_or_default(), sender, &counts),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An earlier response could not be delivered; that concerns its receiver only.
                Err(error) => tracing::trace!(%error, "STUN socket"),
            }
        }
        tokio::task::consume_budget().await;
    }
}

fn answer(socket: &UdpSocket, packet: &[u8], sender: SocketAddr, counts: &Counts) {
    let Some(tx) = parse_request(packet) else {
        counts.ignored.fetch_add(1, Ordering::Relaxed);
        return;
    };
    // A full send buffer loses the response, as the network might; the client retries.
    if socket.try_send_to(response(&tx, sender).bytes(), sender).is_ok() {
        counts.answered.fetch_add(1, Ordering::Relaxed);
    }
}
