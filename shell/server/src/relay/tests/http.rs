//! How relay connections begin over HTTP, and the small pages.

use std::collections::BTreeMap;

use ::http::{HeaderMap, Method, StatusCode};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::super::responses::{bootstrap_dns, generate_204, probe};
use super::*;
use crate::http::public;
use crate::listen::{self, Service, Tls};
use crate::testing;

/// A listener of a whole server with this relay.
async fn listen_http(relay: &Relay) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let router = public(testing::app_with(Some(relay.clone())));
    tokio::spawn(listen::accept(listener, Tls::No, Service::new(router, Some(relay.clone()), 100)));
    addr
}

async fn ask(addr: SocketAddr, head: &str) -> TcpStream {
    let mut io = TcpStream::connect(addr).await.unwrap();
    io.write_all(head.replace('\n', "\r\n").as_bytes()).await.unwrap();
    io
}

async fn read_head(io: &mut TcpStream) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.unwrap());
    }
    head
}

#[tokio::test]
async fn the_response_to_an_upgrade_has_the_version_and_the_bare_key() {
    let relay = open_relay();
    let addr = listen_http(&relay).await;
    let public = headsail_wire::keys::hex(Identity::new(SECRET).public().bytes());
    for (n, method) in [(1, "GET"), (2, "POST")] {
        let asked = format!("{method} /derp HTTP/1.1\nHost: x\nUpgrade: DERP\nConnection: Upgrade\n\n");
        let mut io = ask(addr, &asked).await;
        let head = String::from_utf8(read_head(&mut io).await).unwrap().to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 switching protocols\r\n"), "{head}");
        for line in ["upgrade: derp", "connection: upgrade", "derp-version: 2"] {
            assert!(head.contains(&format!("\r\n{line}\r\n")), "{head}");
        }
        assert!(head.contains(&format!("\r\nderp-public-key: {public}\r\n")), "{head}");
        let mut client = Client::join(io, n).await;
        assert_eq!(client.settle().await, []);
    }
}

#[tokio::test]
async fn a_fast_start_has_no_http_response() {
    let relay = open_relay();
    let addr = listen_http(&relay).await;
    for (n, method) in [(1, "GET"), (2, "POST")] {
        let head = format!(
            "{method} /derp HTTP/1.1\nHost: x\nUpgrade: DERP\nConnection: Upgrade\nDerp-Fast-Start: 1\n\n"
        );
        let mut client = Client::join(ask(addr, &head).await, n).await;
        assert_eq!(client.settle().await, []);
    }
}

#[tokio::test]
async fn a_fast_start_behind_another_request_is_answered() {
    let relay = open_relay();
    let addr = listen_http(&relay).await;
    let mut io = ask(addr, "GET /derp/probe HTTP/1.1\nHost: x\n\n").await;
    assert!(read_head(&mut io).await.starts_with(b"HTTP/1.1 200 OK\r\n"));
    let head =
        "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nDerp-Fast-Start: 1\r\n\r\n";
    io.write_all(head.as_bytes()).await.unwrap();
    assert!(read_head(&mut io).await.starts_with(b"HTTP/1.1 101 "));
    assert_eq!(Client::join(io, 1).await.settle().await, []);
}

#[tokio::test]
async fn requests_without_an_upgrade_are_refused() {
    let relay = open_relay();
    let addr = listen_http(&relay).await;
    for head in [
        "GET /derp HTTP/1.1\n\n",
        "GET /derp HTTP/1.1\nUpgrade: tea\n\n",
        "GET /derp HTTP/1.1\nDerp-Fast-Start: 1\n\n",
        "POST /derp HTTP/1.1\nUpgrade: websocket\n\n",
    ] {
        let answer = answer(addr, head).await;
        assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\nDERP requires connection upgrade\n"), "{answer}");
    }
    for head in [
        "GET /derp HTTP/1.1\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: eA==\n\n",
        "GET /derp HTTP/1.1\nUpgrade: websocket\nSec-WebSocket-Protocol: derp\nSec-WebSocket-Version: 13\n\n",
    ] {
        let answer = answer(addr, head).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
}

/// The whole response to a request, after which the server closes the connection.
async fn answer(addr: SocketAddr, head: &str) -> String {
    let head = head.replacen('\n', "\nHost: x\nConnection: close\n", 1);
    let mut answer = String::new();
    ask(addr, &head).await.read_to_string(&mut answer).await.unwrap();
    answer
}

/// A client over a WebSocket: it sends each piece as one message, and reads messages as a stream of bytes.
struct WebClient {
    socket: WebSocketStream<TcpStream>,
    held: Vec<u8>,
}

impl WebClient {
    async fn join(addr: SocketAddr, n: u8) -> WebClient {
        let mut request = format!("ws://{addr}/derp").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "derp".parse().unwrap());
        request.headers_mut().insert("origin", "https://elsewhere.example".parse().unwrap());
        let io = TcpStream::connect(addr).await.unwrap();
        let (socket, answer) = tokio_tungstenite::client_async(request, io).await.unwrap();
        assert_eq!(answer.headers()["sec-websocket-protocol"], "derp");
        let mut client = WebClient { socket, held: Vec::new() };
        let server = match client.next().await {
            Frame::ServerKey(key) => key,
            other => panic!("{other:?}"),
        };
        client.skip();
        let identity = Identity::new([n; 32]);
        client.send(identity.client_info(server, &[n; 24], &ClientInfo::default())).await;
        assert!(matches!(client.next().await, Frame::ServerInfo(..)));
        client.skip();
        client
    }

    async fn send(&mut self, bytes: Vec<u8>) {
        self.socket.send(Message::Binary(bytes.into())).await.unwrap();
    }

    async fn next(&mut self) -> Frame<'_> {
        while Frame::decode(&self.held).unwrap().is_none() {
            match self.socket.next().await.unwrap().unwrap() {
                Message::Binary(bytes) => {
                    assert!(bytes.len() <= 32 * 1024, "the Go client refuses longer messages");
                    self.held.extend_from_slice(&bytes);
                }
                other => panic!("{other:?} is not binary"),
            }
        }
        Frame::decode(&self.held).unwrap().unwrap().0
    }

    /// Drops the frame that [`WebClient::next`] returned.
    fn skip(&mut self) {
        let (_, len) = Frame::decode(&self.held).unwrap().unwrap();
        self.held.drain(..len);
    }
}

#[tokio::test]
async fn a_websocket_carries_the_largest_packets_both_ways() {
    let relay = open_relay();
    let (plain, web) = (listen(&relay).await, listen_http(&relay).await);
    let mut a = connect(plain, 1).await;
    let mut b = WebClient::join(web, 2).await;
    for len in [0, 100, 33_000, 65_536] {
        let packet = vec![7; len];
        b.send(Frame::SendPacket(a.key, &packet).to_vec()).await;
        assert_eq!(a.got().await, Got::Packet(key(2), packet.clone()));
        a.packet(key(2), &packet).await;
        assert_eq!(b.next().await, Frame::RecvPacket(key(1), &packet));
        b.skip();
    }
    // Many frames in one message, and one frame in many messages.
    let mut bytes = Vec::new();
    for n in 0..50u8 {
        Frame::SendPacket(a.key, &[n; 1000]).write(&mut bytes);
    }
    b.send(bytes.clone()).await;
    for piece in bytes.chunks(333) {
        b.send(piece.to_vec()).await;
    }
    for n in (0..50u8).chain(0..50) {
        assert_eq!(a.got().await, Got::Packet(key(2), vec![n; 1000]));
    }
    b.socket.close(None).await.unwrap();
    assert_eq!(a.got().await, Got::Gone(key(2), GoneReason::Disconnected));
}

#[tokio::test]
async fn a_websocket_is_closed_after_text_or_a_message_that_is_too_long() {
    let relay = open_relay();
    let web = listen_http(&relay).await;
    for message in [Message::Text("hello".into()), Message::Binary(vec![0x55; 300_000].into())] {
        let mut a = WebClient::join(web, 1).await;
        // The server may close the connection before it has read everything.
        let _ = a.socket.send(message).await;
        while let Some(Ok(message)) = a.socket.next().await {
            assert!(message.is_close(), "{message:?}");
        }
    }
}

#[test]
fn probes_allow_any_origin_and_only_get_and_head() {
    for method in [Method::GET, Method::HEAD] {
        let answer = probe(&method);
        assert_eq!((answer.status(), answer.body().as_str()), (StatusCode::OK, ""));
        assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    }
    assert_eq!(probe(&Method::POST).status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[test]
fn a_challenge_is_echoed_only_if_it_is_harmless() {
    let long = "a".repeat(65);
    for (challenge, response) in [
        ("ts_relay.example:80", Some("response ts_relay.example:80")),
        ("", None),
        ("a b", None),
        ("<script>", None),
        (long.as_str(), None),
        (&long[1..], Some(&*format!("response {}", &long[1..]))),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("X-Tailscale-Challenge", challenge.parse().unwrap());
        let answer = generate_204(&headers);
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        let echoed = answer.headers().get("x-tailscale-response").map(|value| value.to_str().unwrap());
        assert_eq!(echoed, response);
    }
    assert!(generate_204(&HeaderMap::new()).headers().contains_key("cache-control"));
}

#[test]
fn bootstrap_dns_lists_our_hosts() {
    let hosts = BTreeMap::from([
        ("a.example".to_owned(), vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()]),
        ("b.example".to_owned(), vec!["192.0.2.2".parse().unwrap()]),
    ]);
    let all = r#"{"a.example":["192.0.2.1","2001:db8::1"],"b.example":["192.0.2.2"]}"#;
    assert_eq!(bootstrap_dns(&hosts, None).body(), all);
    assert_eq!(bootstrap_dns(&hosts, Some("q=c.example")).body(), all);
    assert_eq!(bootstrap_dns(&hosts, Some("x=1&q=b.example")).body(), r#"{"b.example":["192.0.2.2"]}"#);
}
