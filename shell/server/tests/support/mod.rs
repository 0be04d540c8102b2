//! A server on loopback, and clients that need not behave.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use headsail_noise::early::{self, Early};
use headsail_noise::handshake::answer_len;
use headsail_noise::{Initiator, Responder};
use headsail_server::app::{App, Process, TailnetService};
use headsail_server::clerk::Clerk;
use headsail_server::config::Policy;
use headsail_server::http;
use headsail_server::listen::{self, Service, Tls};
use headsail_store::memory::MemoryStore;
use headsail_tailnet::actor::Actor;
use headsail_tailnet::command::{Command, NewUser, Registration, ShownKey, Telling};
use headsail_tailnet::model::settings::Settings;
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::capver::CapVer;
use headsail_wire::hostinfo::{Hostinfo, Service as HostService};
use headsail_wire::ids::UserId;
use headsail_wire::keys::{MachineKey, NodeKey};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub const CAPABILITY: u16 = 130;

/// A server that listens on loopback.
pub struct Server {
    pub app: App,
    pub addr: SocketAddr,
}

impl Server {
    pub async fn start() -> Server {
        let tailnet = Tailnet::empty(Arc::new(Settings::basic()));
        let clerk = Clerk::start(tailnet, Box::new(MemoryStore::default())).unwrap();
        let tailnet = Arc::new(TailnetService::new(clerk, "http://127.0.0.1".into(), Policy::Database));
        let noise = Responder::new(&[7; 32]).unwrap();
        let process = Arc::new(Process { noise, relay: None, bodies: Arc::default() });
        let app = App { process, tailnet };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(listen::accept(
            listener,
            Tls::No,
            Service::new(http::public(app.clone()), None, 10_000),
        ));
        Server { app, addr }
    }

    pub async fn submit(&self, command: Command) -> Arc<Tailnet> {
        let done = self.app.tailnet.clerk.submit(Actor::Server, command).await;
        done.unwrap_or_else(|_| panic!("the command is accepted"))
    }

    pub async fn user(&self, name: &str) -> UserId {
        let t = self.submit(Command::CreateUser(NewUser { name: name.into(), ..NewUser::default() })).await;
        t.users().find(|u| u.name == name).unwrap().id
    }

    /// Admits a machine as a node of a user. Its keys follow from its secret.
    pub async fn node(&self, user: UserId, secret: u16) -> NodeKey {
        let (machine_key, node_key) = (self.machine_key(secret), node_key(secret));
        let peerapi = HostService { proto: "peerapi4".into(), port: 40_000, description: "x".repeat(200) };
        let host = Hostinfo {
            hostname: format!("host{secret}"),
            ssh_host_keys: vec!["k".repeat(400); 3],
            services: vec![peerapi],
            ..Hostinfo::default()
        };
        let registration = Registration {
            machine_key,
            cap: CapVer(CAPABILITY.into()),
            node_key,
            old_node_key: NodeKey::default(),
            auth_key: ShownKey::None,
            expiry: None,
            hostinfo: host.clone(),
            ephemeral: false,
            source: None,
        };
        let t = self.submit(Command::Register(Box::new(registration))).await;
        let ticket = t.tickets().find(|t| t.asking.node_key == node_key).unwrap().id.clone();
        let t = self.submit(Command::GrantTicket { ticket, user }).await;
        // A pending login keeps a part of it.
        let telling = Telling { hostinfo: Some(host), cap: CapVer(CAPABILITY.into()), ..Telling::default() };
        let node = t.node_by_key(&node_key).unwrap().id;
        self.submit(Command::MapUpdate { node, telling: Box::new(telling) }).await;
        node_key
    }

    /// The public key of a machine.
    fn machine_key(&self, secret: u16) -> MachineKey {
        let (_, message) = self.initiation(secret);
        let seen = self.app.process.noise.read_initiation(&message).unwrap();
        MachineKey::from_bytes(*seen.machine_key())
    }

    pub fn initiation(&self, secret: u16) -> (Initiator, Vec<u8>) {
        let mut ephemeral = [9; 32];
        ephemeral[0] = 8;
        let (initiator, message) = Initiator::new(
            self.app.process.noise.public_key(),
            &machine_secret(secret),
            &ephemeral,
            CAPABILITY,
        )
        .unwrap();
        (initiator, message.to_vec())
    }

    /// A control connection of a machine, whose HTTP/2 client accepts this many bytes of each response until it reads.
    pub async fn connect(&self, secret: u16, window: u32) -> Client {
        let (initiator, message) = self.initiation(secret);
        let mut socket = TcpStream::connect(self.addr).await.unwrap();
        let head = format!(
            "POST /ts2021 HTTP/1.1\r\nHost: x\r\nUpgrade: tailscale-control-protocol\r\nConnection: upgrade\r\n\
             X-Tailscale-Handshake: {}\r\n\r\n",
            STANDARD.encode(message)
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        let mut response = Vec::new();
        while answer_len(&response).is_none_or(|len| response.len() < len) {
            response.push(socket.read_u8().await.unwrap());
        }
        let transport = initiator.read_response(&response).unwrap();
        let (near, far) = tokio::io::duplex(256 * 1024);
        carry(socket, transport, far);
        let builder = &mut Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(window).initial_connection_window_size(1 << 24);
        let (requests, driver) = builder.handshake(TokioIo::new(near)).await.unwrap();
        Client { requests, ended: tokio::spawn(async move { drop(driver.await) }) }
    }
}

/// Carries bytes between a Noise connection and a client of HTTP/2, both ways.
fn carry(socket: TcpStream, transport: headsail_noise::Transport, far: DuplexStream) {
    let (mut from_server, mut to_server) = socket.into_split();
    let (mut from_client, mut to_client) = tokio::io::split(far);
    let headsail_noise::Transport { mut sealer, mut opener } = transport;
    tokio::spawn(async move {
        let mut bytes = vec![0; 16 * 1024];
        while let Ok(n @ 1..) = from_client.read(&mut bytes).await {
            let mut sealed = Vec::new();
            sealer.seal(&bytes[..n], &mut sealed).unwrap();
            if to_server.write_all(&sealed).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        let (mut sealed, mut opened, mut past_early) = (Vec::new(), Vec::new(), false);
        while let Ok(1..) = from_server.read_buf(&mut sealed).await {
            opener.drain(&mut sealed, &mut opened).unwrap();
            if !past_early && let Early::Payload { len, .. } = early::decode(&opened) {
                opened.drain(..len);
                past_early = true;
            }
            if past_early && to_client.write_all(&std::mem::take(&mut opened)).await.is_err() {
                return;
            }
        }
        let _ = to_client.shutdown().await;
    });
}

fn machine_secret(secret: u16) -> [u8; 32] {
    let mut bytes = [1; 32];
    bytes[..2].copy_from_slice(&secret.to_be_bytes());
    bytes
}

pub fn node_key(secret: u16) -> NodeKey {
    NodeKey::from_bytes(machine_secret(secret))
}

pub struct Client {
    pub requests: SendRequest<BoxBody<Bytes, std::io::Error>>,
    /// Ends with the connection.
    pub ended: JoinHandle<()>,
}

impl Client {
    pub fn post(
        &mut self,
        path: &str,
        body: Value,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + Send + use<> {
        self.post_body(path, Full::from(body.to_string()).map_err(|e| match e {}).boxed())
    }

    pub fn post_body(
        &mut self,
        path: &str,
        body: BoxBody<Bytes, std::io::Error>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + Send + use<> {
        let request = Request::post(format!("https://x{path}")).body(body).unwrap();
        let mut requests = self.requests.clone();
        async move {
            requests.ready().await?;
            requests.send_request(request).await
        }
    }
}

pub async fn read(response: Response<Incoming>) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// The fields of a registration of a machine.
pub fn registration(secret: u16) -> Value {
    json!({ "Version": CAPABILITY, "NodeKey": node_key(secret) })
}

/// Memory of this process, in bytes.
pub fn memory() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
