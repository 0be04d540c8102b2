//! The fleet against a scripted server: the loads report what that server does.
#![allow(clippy::unwrap_used, reason = "the scripted server is part of the test")]

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use headsail_load::client::{NoiseIo, Target, probe_endpoint};
use headsail_load::fleet::{Entry, Fleet, What};
use headsail_load::report::Report;
use headsail_load::scenario::{self, Join};
use headsail_noise::{Responder, early};
use headsail_wire::keys::MachineKey;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const PATIENCE: Duration = Duration::from_secs(20);
const SECRET: [u8; 32] = [7; 32];

/// The registered nodes and the open streams.
#[derive(Default)]
struct World {
    keys: Vec<Value>,
    streams: Vec<UnboundedSender<Bytes>>,
}

type Shared = Arc<Mutex<World>>;

/// A response body: frames as they are sent, until the sender is dropped.
struct Frames(UnboundedReceiver<Bytes>);

impl hyper::body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|b| Ok(Frame::data(b))))
    }
}

async fn start() -> (String, Shared) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let world = Shared::default();
    let shared = world.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(connection(socket, shared.clone()));
        }
    });
    (url, world)
}

async fn connection(mut socket: TcpStream, world: Shared) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if socket.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head = String::from_utf8(head).unwrap();
    let responder = Responder::new(&SECRET).unwrap();
    if head.starts_with("GET /key?v=") {
        let body = json!({ "publicKey": MachineKey::from_bytes(*responder.public_key()).to_string() });
        let answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}");
        socket.write_all(answer.as_bytes()).await.unwrap();
        return;
    }
    let initiation = head.lines().find_map(|l| l.strip_prefix("X-Tailscale-Handshake: ")).unwrap();
    let handshake = responder.read_initiation(&STANDARD.decode(initiation).unwrap()).unwrap();
    let (response, mut transport) = handshake.write_response(&[9; 32]).unwrap();
    let mut answer = b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec();
    answer.extend_from_slice(&response);
    transport.sealer.seal(&early::encode(b"{}"), &mut answer).unwrap();
    socket.write_all(&answer).await.unwrap();
    let io = NoiseIo::new(socket, transport, Vec::new()).unwrap();
    let service = service_fn(move |request| {
        let world = world.clone();
        async move { Ok::<_, Infallible>(Response::new(Frames(serve(request, &world).await))) }
    });
    // A node that is cut ends its connection with an error.
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(io), service)
        .await;
}

async fn serve(request: Request<Incoming>, world: &Shared) -> UnboundedReceiver<Bytes> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let (send, receive) = unbounded_channel();
    let mut world = world.lock().unwrap();
    if path == "/machine/register" {
        if body["Auth"]["AuthKey"] != "a key" {
            let refusal = json!({ "MachineAuthorized": false, "Error": "there is no such key" });
            send.send(refusal.to_string().into()).unwrap();
            return receive;
        }
        tell(&world, &json!({ "PeersChanged": [{ "Key": body["NodeKey"] }] }));
        world.keys.push(body["NodeKey"].clone());
        send.send(json!({ "MachineAuthorized": true, "Error": "" }).to_string().into()).unwrap();
    } else if body["Stream"] == true {
        let peers: Vec<Value> = world.keys.iter().map(|key| json!({ "Key": key })).collect();
        send.send(frame(&json!({ "Node": {}, "Peers": peers }))).unwrap();
        world.streams.push(send);
    } else {
        tell(&world, &json!({ "PeersChangedPatch": [{ "Endpoints": body["Endpoints"] }] }));
    }
    receive
}

fn tell(world: &World, content: &Value) {
    for stream in &world.streams {
        // The list still has the streams of nodes that were cut.
        let _ = stream.send(frame(content));
    }
}

fn frame(content: &Value) -> Bytes {
    let payload = zstd::bulk::compress(content.to_string().as_bytes(), 1).unwrap();
    [&u32::try_from(payload.len()).unwrap().to_le_bytes()[..], &payload].concat().into()
}

async fn fleet(url: &str, size: usize) -> Fleet {
    Fleet::new(Target::find(url).await.unwrap(), "a key", size).unwrap()
}

fn figures(report: &Report) -> Value {
    serde_json::from_str(&report.to_json()).unwrap()
}

#[tokio::test]
async fn loads_report_what_the_server_does() {
    let (url, _) = start().await;
    let mut fleet = fleet(&url, 12).await;
    let joined = scenario::join(&mut fleet, None, Join { nodes: 8, in_flight: 3 }).await.unwrap();
    assert_eq!(fleet.online(), 8);
    assert_eq!(figures(&joined)["nodes"], 8);
    assert_eq!(figures(&joined)["nodes_that_did_NOT_see_all"], Value::Null);

    let late = scenario::late_join(&mut fleet, None).await.unwrap();
    assert_eq!(figures(&late)["repeats"], 4.0);
    assert_eq!(figures(&late)["viewers_that_did_NOT_see_it"], Value::Null);
    assert_eq!(fleet.online(), 12);

    let moved = scenario::endpoints(&mut fleet, None, &[100], 5).await.unwrap();
    assert_eq!(figures(&moved)["100_s__viewers_that_did_NOT_see_the_newest"], Value::Null);
    assert!(figures(&moved)["100_s__bytes_per_update_and_viewer_bytes"].as_f64().unwrap() > 50.0);

    let back = scenario::reconnect(&mut fleet, None, 2).await.unwrap();
    assert_eq!(figures(&back)["nodes"], 12);
    let maps = scenario::full_map(&fleet, None, 3).await.unwrap();
    assert!(figures(&maps)["as_JSON_bytes"].as_f64().unwrap() > 12.0 * 70.0);
    assert!(fleet.board().errors().is_empty(), "{:?}", fleet.board().errors());
}

#[tokio::test]
async fn a_stream_that_the_server_ends_is_recorded_and_reopened() {
    let (url, world) = start().await;
    let mut fleet = fleet(&url, 2).await;
    scenario::join(&mut fleet, None, Join { nodes: 2, in_flight: 1 }).await.unwrap();
    fleet.board().wipe();
    world.lock().unwrap().streams.clear();
    assert_eq!(fleet.board().gather(2, PATIENCE, |w| w == What::Ended).await.len(), 2);
    assert_eq!(fleet.board().gather(2, PATIENCE, |w| w == What::FirstMap).await.len(), 2);
}

#[tokio::test]
async fn changes_that_were_not_sent_are_not_recorded() {
    let (url, world) = start().await;
    let mut fleet = fleet(&url, 3).await;
    scenario::join(&mut fleet, None, Join { nodes: 2, in_flight: 2 }).await.unwrap();
    fleet.board().wipe();
    fleet.board().watch(2);
    let keep_silent = std::mem::take(&mut world.lock().unwrap().streams);
    let arrivals = fleet.enter(2..3, 1, Entry::New).await;
    assert!(arrivals.iter().all(Result::is_ok));
    let mut connection = fleet.connect(0).await.unwrap();
    connection.tell_endpoint(fleet.identity(0).unwrap(), &probe_endpoint(5)).await.unwrap();
    // Only the newest node has a stream in the server's list, so only that node receives the update.
    let told = fleet.board().gather(1, PATIENCE, |w| w == What::Probe(5)).await;
    assert_eq!(told.iter().map(|n| n.viewer).collect::<Vec<_>>(), [2]);
    assert!(fleet.board().notes().iter().all(|n| n.what != What::Saw));
    drop(keep_silent);
}

#[tokio::test]
async fn a_refused_registration_is_an_error() {
    let (url, _) = start().await;
    let target = Target::find(&url).await.unwrap();
    let mut fleet = Fleet::new(target, "another key", 1).unwrap();
    let error = scenario::join(&mut fleet, None, Join { nodes: 1, in_flight: 1 }).await.unwrap_err();
    assert!(error.to_string().contains("there is no such key"), "{error}");
}

#[tokio::test]
async fn a_check_rejects_maps_that_no_client_could_use() {
    let (url, _) = start().await;
    let mut fleet = fleet(&url, 2).await;
    let error = scenario::check(&mut fleet, Join { nodes: 2, in_flight: 2 }).await.unwrap_err();
    assert!(!error.to_string().is_empty());
    assert!(fleet.board().view(0).is_none());
}
