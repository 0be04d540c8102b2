//! The relay as clients see it: their half of the protocol over sockets and pipes.

mod http;
mod rules;
mod socket;
mod stun;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use headsail_derp::frame::{DISCO_MAGIC, Frame, GoneReason};
use headsail_derp::{ClientInfo, Identity};
use headsail_wire::keys::NodeKey;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::{End, Relay};

const SECRET: [u8; 32] = [0x77; 32];
const REMOTE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

/// What a client receives.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Got {
    Packet(NodeKey, Vec<u8>),
    Gone(NodeKey, GoneReason),
    Pong([u8; 8]),
    KeepAlive,
    End,
}

struct Client<S> {
    io: S,
    key: NodeKey,
    held: Vec<u8>,
}

fn open_relay() -> Relay {
    Relay::new(SECRET, Arc::new(|_| true))
}

fn key(n: u8) -> NodeKey {
    Identity::new([n; 32]).public()
}

fn disco(n: u8) -> Vec<u8> {
    let mut packet = DISCO_MAGIC.to_vec();
    packet.resize(100, n);
    packet
}

/// A listener on loopback whose connections go straight to the relay.
async fn listen(relay: &Relay) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let relay = relay.clone();
    tokio::spawn(async move {
        while let Ok((io, remote)) = listener.accept().await {
            let relay = relay.clone();
            tokio::spawn(async move { relay.serve_stream(io, remote, || ()).await });
        }
    });
    addr
}

async fn connect(addr: SocketAddr, n: u8) -> Client<TcpStream> {
    Client::join(TcpStream::connect(addr).await.unwrap(), n).await
}

/// A client over a pipe, and the task that serves it.
async fn pipe(relay: &Relay, n: u8) -> (Client<DuplexStream>, JoinHandle<End>) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let relay = relay.clone();
    let served = tokio::spawn(async move { relay.serve_stream(far, REMOTE, || ()).await });
    (Client::join(near, n).await, served)
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Completes the handshake.
    async fn join(io: S, n: u8) -> Client<S> {
        let identity = Identity::new([n; 32]);
        let mut client = Client { io, key: identity.public(), held: Vec::new() };
        let server = client.frame(|frame| match frame {
            Frame::ServerKey(key) => key,
            other => panic!("{other:?} instead of the server's key"),
        });
        let server = server.await.expect("a greeting");
        let hello = identity.client_info(server, &[n; 24], &ClientInfo::default());
        client.io.write_all(&hello).await.unwrap();
        let info = client.frame(|frame| match frame {
            Frame::ServerInfo(nonce, sealed) => identity.open_server_info(server, &nonce, sealed),
            other => panic!("{other:?} instead of the server's note"),
        });
        assert_eq!(info.await.expect("an answer").expect("a note that opens").version, 2);
        client
    }

    async fn send(&mut self, frame: Frame<'_>) {
        self.io.write_all(&frame.to_vec()).await.unwrap();
        self.io.flush().await.unwrap();
    }

    async fn packet(&mut self, to: NodeKey, packet: &[u8]) {
        self.send(Frame::SendPacket(to, packet)).await;
    }

    /// The next frame; waits at most 100 s, which pass at once in tests with a paused clock.
    async fn got(&mut self) -> Got {
        let next = self.frame(|frame| match frame {
            Frame::RecvPacket(src, packet) => Got::Packet(src, packet.to_vec()),
            Frame::PeerGone(peer, why) => Got::Gone(peer, why),
            Frame::Pong(data) => Got::Pong(data),
            Frame::KeepAlive => Got::KeepAlive,
            other => panic!("a server never sends {other:?}"),
        });
        next.await.unwrap_or(Got::End)
    }

    /// A round trip to the server: afterwards, everything sent before has been processed, and what was queued has arrived.
    async fn settle(&mut self) -> Vec<Got> {
        self.send(Frame::Ping(*b"settled?")).await;
        let mut before = Vec::new();
        loop {
            match self.got().await {
                Got::Pong(data) if data == *b"settled?" => return before,
                Got::End => panic!("the connection ended"),
                other => before.push(other),
            }
        }
    }

    async fn frame<R>(&mut self, read: impl FnOnce(Frame<'_>) -> R) -> Option<R> {
        loop {
            if let Some((frame, len)) = Frame::decode(&self.held).unwrap() {
                let result = read(frame);
                self.held.drain(..len);
                return Some(result);
            }
            let more = self.io.read_buf(&mut self.held);
            match tokio::time::timeout(Duration::from_secs(100), more).await.expect("an answer in time") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}
