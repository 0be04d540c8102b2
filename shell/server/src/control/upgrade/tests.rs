//! The ways into the control protocol, over sockets.

use std::net::SocketAddr;

use axum::Router;
use axum::routing::any;
use futures_util::{SinkExt, StreamExt};
use headsail_noise::early::{self, Early};
use headsail_noise::handshake::answer_len;
use headsail_noise::{Initiator, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::*;
use crate::listen::classify::HTTP2_PREFACE;
use crate::listen::{self, Service, Tls};
use crate::testing;

/// An empty SETTINGS frame of HTTP/2.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

async fn listen() -> (SocketAddr, Initiator, String) {
    let app = testing::app();
    let (initiator, message) =
        Initiator::new(app.process.noise.public_key(), &[1; 32], &[2; 32], 130).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let router = Router::new().route("/ts2021", any(ts2021)).with_state(app);
    tokio::spawn(listen::accept(listener, Tls::No, Service::new(router, None, 10)));
    (addr, initiator, STANDARD.encode(message))
}

enum Client {
    Shaking(Option<Initiator>),
    Open(Transport),
}

/// The client's half of a connection, without IO.
struct Session {
    client: Client,
    received: Vec<u8>,
    opened: Vec<u8>,
}

impl Session {
    fn new(initiator: Initiator) -> Session {
        Session { client: Client::Shaking(Some(initiator)), received: Vec::new(), opened: Vec::new() }
    }

    /// Takes bytes of the server, which may be cut anywhere, and returns those to send.
    fn receive(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.received.extend_from_slice(bytes);
        let mut to_send = Vec::new();
        if let Client::Shaking(initiator) = &mut self.client {
            let Some(len) = answer_len(&self.received).filter(|len| *len <= self.received.len()) else {
                return to_send;
            };
            let message: Vec<u8> = self.received.drain(..len).collect();
            let mut transport = initiator.take().unwrap().read_response(&message).unwrap();
            transport.sealer.seal(&[HTTP2_PREFACE, &SETTINGS].concat(), &mut to_send).unwrap();
            self.client = Client::Open(transport);
        }
        if let Client::Open(transport) = &mut self.client {
            transport.opener.drain(&mut self.received, &mut self.opened).unwrap();
        }
        to_send
    }

    /// Whether the server has begun to speak HTTP/2, behind its early payload.
    fn speaks_http2(&self) -> bool {
        match early::decode(&self.opened) {
            Early::Payload { len, json } => {
                assert!(json.starts_with(b"{\"nodeKeyChallenge\":\"chalpub:"), "{json:?}");
                // The first frame of a server is SETTINGS.
                self.opened.get(len + 3) == Some(&4)
            }
            Early::Incomplete => false,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_upgraded_connection_carries_http2_in_noise() {
    let (addr, initiator, handshake) = listen().await;
    let mut io = TcpStream::connect(addr).await.unwrap();
    let head = format!(
        "POST /ts2021 HTTP/1.1\r\nHost: x\r\nUpgrade: {CONTROL_PROTOCOL}\r\nConnection: upgrade\r\n\
         X-Tailscale-Handshake: {handshake}\r\n\r\n"
    );
    io.write_all(head.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && head.contains(CONTROL_PROTOCOL), "{head}");
    let mut session = Session::new(initiator);
    while !session.speaks_http2() {
        let mut bytes = [0; 1000];
        let n = io.read(&mut bytes).await.unwrap();
        assert_ne!(n, 0);
        io.write_all(&session.receive(&bytes[..n])).await.unwrap();
    }
}

#[tokio::test]
async fn a_websocket_carries_http2_in_noise() {
    for named in [true, false] {
        let (addr, initiator, handshake) = listen().await;
        let handshake = handshake.replace('+', "%2B").replace('=', "%3D").replace('/', "%2F");
        let url = format!("ws://{addr}/ts2021?X-Tailscale-Handshake={handshake}");
        let mut request = url.into_client_request().unwrap();
        if named {
            request.headers_mut().insert("sec-websocket-protocol", CONTROL_PROTOCOL.parse().unwrap());
        }
        let io = TcpStream::connect(addr).await.unwrap();
        let (mut socket, response) = tokio_tungstenite::client_async(request, io).await.unwrap();
        let subprotocol = response.headers().get("sec-websocket-protocol").map(|v| v.to_str().unwrap());
        assert_eq!(subprotocol, named.then_some(CONTROL_PROTOCOL));
        let mut session = Session::new(initiator);
        while !session.speaks_http2() {
            let Message::Binary(bytes) = socket.next().await.unwrap().unwrap() else { panic!("not binary") };
            let to_send = session.receive(&bytes);
            // In pieces: how messages are cut means nothing.
            for piece in to_send.chunks(7) {
                socket.send(Message::Binary(piece.to_vec().into())).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn requests_that_cannot_be_upgraded_are_refused_with_the_reason() {
    let (addr, _, handshake) = listen().await;
    for (line, text) in [
        ("POST /ts2021", "the Upgrade header is missing"),
        ("POST /ts2021 Upgrade:gopher", "cannot switch to `gopher`"),
        ("POST /ts2021 Upgrade:tailscale-control-protocol", "the handshake is missing"),
        (
            "POST /ts2021 Upgrade:tailscale-control-protocol X-Tailscale-Handshake:???",
            "the handshake is not base64",
        ),
        ("GET /ts2021 Upgrade:websocket", "the handshake is missing"),
        ("GET /ts2021?X-Tailscale-Handshake=HANDSHAKE Upgrade:websocket", "not a WebSocket request"),
    ] {
        let mut words = line.split(' ').map(|w| w.replace("HANDSHAKE", &handshake.replace('+', "%2B")));
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let headers: String = words.map(|w| format!("{}\r\n", w.replacen(':', ": ", 1))).collect();
        let mut io = TcpStream::connect(addr).await.unwrap();
        let head = format!("{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        io.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        io.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains(text), "{line}: {answer}");
    }
}

#[tokio::test]
async fn a_client_that_stays_silent_after_the_switch_is_disconnected() {
    for valid in [true, false] {
        let app = testing::app();
        let (_, mut message) =
            Initiator::new(app.process.noise.public_key(), &[1; 32], &[2; 32], 130).unwrap();
        if !valid {
            message[20] ^= 1;
        }
        let (mut client, server) = tokio::io::duplex(1024);
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        let mut received = Vec::new();
        let origin = Origin { source: None, seat: None };
        let served = serve(app, server, origin, &message);
        let (read, ()) = tokio::join!(client.read_to_end(&mut received), served);
        read.unwrap();
        assert!(!received.is_empty());
        let limit = if valid { SILENCE_TIMEOUT.as_secs() } else { 0 };
        assert_eq!(began.elapsed().as_secs(), limit);
        tokio::time::resume();
    }
}
