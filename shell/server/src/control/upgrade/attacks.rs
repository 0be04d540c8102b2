//! What strangers try over real sockets, and that nobody else is hurt by it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use headsail_noise::{Initiator, RESPONSE_LEN};
use headsail_tailnet::command::Command;
use headsail_tailnet::model::settings::Settings;
use headsail_wire::keys::NodeKey;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use super::*;
use crate::listen::{self, Seats, Service, Tls};
use crate::{http, testing};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server on loopback with this many places for connections.
struct Server {
    app: App,
    addr: SocketAddr,
    seats: Arc<Seats>,
}

impl Server {
    async fn new(connections: usize) -> Server {
        let app = testing::app();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let service = Service::new(http::public(app.clone()), None, connections);
        let seats = service.seats();
        tokio::spawn(listen::accept(listener, Tls::No, service));
        Server { app, addr, seats }
    }

    /// A connection from this address of the loopback network.
    async fn connect(&self, from: [u8; 4]) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(IpAddr::from(from), 0)).unwrap();
        let io = socket.connect(self.addr).await.unwrap();
        io.set_nodelay(true).unwrap();
        io
    }

    /// A control connection from this address with the machine key of a number.
    async fn control(&self, from: [u8; 4], machine: u16) -> Control {
        let mut io = self.connect(from).await;
        let mut secret = [1; 32];
        secret[..2].copy_from_slice(&machine.to_be_bytes());
        let (initiator, message) =
            Initiator::new(self.app.process.noise.public_key(), &secret, &[2; 32], 130).unwrap();
        let head = format!(
            "POST /ts2021 HTTP/1.1\r\nHost: x\r\nUpgrade: {CONTROL_PROTOCOL}\r\nConnection: upgrade\r\n\
             X-Tailscale-Handshake: {}\r\n\r\n",
            STANDARD.encode(message)
        );
        io.write_all(head.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(io.read_u8().await.unwrap());
        }
        let mut response = [0; RESPONSE_LEN];
        io.read_exact(&mut response).await.unwrap();
        let mut io = NoiseIo::new(io, initiator.read_response(&response).unwrap(), &[], &[]).unwrap();
        let mut header = [0; 9];
        io.read_exact(&mut header).await.unwrap();
        let len = u32::from_be_bytes(header[5..].try_into().unwrap());
        io.read_exact(&mut vec![0; len as usize]).await.unwrap();
        let (requests, driver) = handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
        tokio::spawn(driver);
        Control(requests)
    }
}

struct Control(SendRequest<Full<Bytes>>);

impl Control {
    async fn register(&mut self, node_key: u16, more: Value) -> Value {
        let mut request = json!({ "Version": 130, "NodeKey": key(node_key) });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let request = hyper::Request::post("https://x/machine/register")
            .body(Full::new(Bytes::from(request.to_string())))
            .unwrap();
        self.0.ready().await.unwrap();
        let response = timeout(PATIENCE, self.0.send_request(request)).await.unwrap().unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    }

    /// Asks for a login, and returns its id.
    async fn login(&mut self, node_key: u16, host: Value) -> String {
        let response = self.register(node_key, json!({ "Hostinfo": host })).await;
        response["AuthURL"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
    }
}

fn key(number: u16) -> NodeKey {
    let mut bytes = [9; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    NodeKey::from_bytes(bytes)
}

fn web() -> Value {
    json!({ "Hostname": "web", "OS": "linux" })
}

#[tokio::test]
async fn an_honest_login_goes_through_during_floods_of_logins() {
    let server = Server::new(100).await;
    let tailnet = &server.app.tailnet;
    let alice = testing::user(tailnet, "alice").await;
    let settings = Settings { max_tickets: 32, ..Settings::basic() };
    testing::submit(tailnet, Command::Configure(Arc::new(settings))).await;
    let mut honest = server.control([127, 0, 0, 9], 1).await;
    let ticket = honest.login(1, web()).await;

    let mut greedy = server.control([127, 0, 0, 2], 2).await;
    for node_key in 100..1200 {
        greedy.login(node_key, web()).await;
    }
    assert_eq!(tailnet.clerk.snapshot().tickets().count(), 3, "a machine has two logins at most");
    for machine in 100..180 {
        server.control([127, 0, 0, 3], machine).await.login(machine, web()).await;
    }
    let tickets = tailnet.clerk.snapshot();
    assert_eq!(tickets.tickets().count(), 32);
    let seen = tickets.ticket(&ticket).expect("the honest login is still there");
    assert_eq!(seen.asking.source, Some([127, 0, 0, 9].into()));
    assert!(tailnet.clerk.displaced_logins() >= 40);

    testing::submit(tailnet, Command::GrantTicket { ticket, user: alice }).await;
    assert_eq!(honest.register(1, json!({})).await["MachineAuthorized"], true);
}

#[tokio::test]
async fn an_approval_grants_what_was_seen_whatever_the_machine_asks_later() {
    let server = Server::new(100).await;
    let tailnet = &server.app.tailnet;
    let alice = testing::user(tailnet, "alice").await;
    let policy = r#"{"tagOwners": {"tag:admin": ["alice@"]},
        "autoApprovers": {"routes": {"10.0.0.0/8": ["tag:admin"]}}}"#;
    testing::submit(tailnet, Command::SetPolicy { text: policy.into(), kept: true }).await;
    let mut machine = server.control([127, 0, 0, 2], 1).await;
    let seen = machine.login(1, web()).await;
    let more = json!({
        "Hostname": "web", "OS": "linux", "RequestTags": ["tag:admin"], "RoutableIPs": ["10.0.0.0/8"],
    });
    assert_eq!(machine.login(1, web()).await, seen);
    let other = machine.login(1, more.clone()).await;
    assert_ne!(other, seen);
    let t = tailnet.clerk.snapshot();
    assert!(t.ticket(&seen).is_none(), "approving what was seen does nothing");

    // The other way round: what is seen asks for nothing, and the machine asks for more once it is approved.
    let seen = machine.login(2, web()).await;
    let t = testing::submit(tailnet, Command::GrantTicket { ticket: seen, user: alice }).await;
    let node = t.node_by_key(&key(2)).unwrap().id;
    let followup = json!({ "Hostinfo": more });
    assert_eq!(machine.register(2, followup).await["MachineAuthorized"], true);
    let t = tailnet.clerk.snapshot();
    let node = t.node(node).unwrap();
    assert_eq!((node.owner.user(), node.approved_routes.len()), (Some(alice), 0));
}

#[tokio::test]
async fn silent_connections_shut_out_nobody_and_registered_nodes_stay() {
    let server = Server::new(20).await;
    let tailnet = &server.app.tailnet;
    let alice = testing::user(tailnet, "alice").await;
    // All from one address, as behind a carrier's NAT.
    let home = [127, 0, 0, 1];
    let mut member = server.control(home, 1).await;
    let ticket = member.login(1, web()).await;
    testing::submit(tailnet, Command::GrantTicket { ticket, user: alice }).await;
    assert_eq!(member.register(1, json!({})).await["MachineAuthorized"], true);

    let mut silent = Vec::new();
    for n in 0..60 {
        let mut io = server.connect(home).await;
        if n % 2 == 0 {
            io.write_all(classify::HTTP2_PREFACE).await.unwrap();
        }
        silent.push(io);
    }
    for from in [home, [127, 0, 0, 7]] {
        let mut newcomer = server.connect(from).await;
        newcomer.write_all(b"GET /robots.txt HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut line = [0; 12];
        timeout(PATIENCE, newcomer.read_exact(&mut line)).await.unwrap().unwrap();
        assert_eq!(&line, b"HTTP/1.1 200");
    }
    assert!(server.seats.closed() >= 40 && server.seats.taken() <= 20);
    assert_eq!(member.register(1, json!({})).await["MachineAuthorized"], true, "members keep their place");
}
