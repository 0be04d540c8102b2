//! Attacks of strangers and members on a server over loopback, and what it keeps for everybody else.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod support;

use std::future::pending;
use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Extension;
use bytes::Bytes;
use futures_util::stream::{self, FuturesUnordered, StreamExt};
use headsail_server::http;
use headsail_tailnet::actor::Actor;
use headsail_tailnet::command::Command;
use http_body_util::{BodyExt, StreamBody};
use hyper::Request;
use hyper::body::Frame;
use serde_json::{Value, json};
use support::{CAPABILITY, Server, memory, read, registration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tower::ServiceExt;

/// Some tests measure the memory of the process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

const WINDOW: u32 = 1 << 20;
const MIB: usize = 1024 * 1024;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A registration that is small as text and large once it is parsed.
fn swollen(secret: u16, followup: &str, services: usize) -> Value {
    let mut request = registration(secret);
    request["Followup"] = json!(followup);
    request["Hostinfo"] = json!({ "OS": "linux", "Hostname": "h", "Services": vec![json!({}); services] });
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_that_wait_hold_no_bodies_and_few_of_a_machine_wait() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let server = Server::start().await;
    let mut client = server.connect(1, WINDOW).await;
    // A follow-up that asks for something else would be a login of its own.
    let (_, answer) = read(client.post("/machine/register", swollen(1, "", 0)).await.unwrap()).await;
    let url = serde_json::from_str::<Value>(&answer).unwrap()["AuthURL"].as_str().unwrap().to_owned();

    let (status, text) =
        read(client.post("/machine/register", swollen(1, &url, 340_000)).await.unwrap()).await;
    assert!(status == 413 && text.contains("64 KiB"), "a stranger has small bodies: {status} {text}");

    let before = memory();
    let mut waiting: FuturesUnordered<_> =
        (0..250).map(|_| tokio::spawn(client.post("/machine/register", swollen(1, &url, 20_000)))).collect();
    let mut ended = Vec::new();
    while waiting.len() > 4 {
        let response = tokio::time::timeout(PATIENCE, waiting.next()).await;
        let (status, text) = read(response.expect("only four wait").unwrap().unwrap().unwrap()).await;
        assert!(status == 429 || (status == 200 && text.contains(&url)), "{status}: {text}");
        ended.push(status);
    }
    let bodies = &server.app.process.bodies.strangers;
    assert_eq!(bodies.bytes(), 0, "what waits holds no body");
    let grew = memory().saturating_sub(before) / MIB;
    assert!(grew < 64, "the process grew by {grew} MiB");
    assert_eq!(
        usize::try_from(server.app.tailnet.followups.given_way()).unwrap(),
        ended.iter().filter(|status| **status == 200).count()
    );

    let user = server.user("alice").await;
    let ticket = url.rsplit('/').next().unwrap().to_owned();
    server.submit(Command::GrantTicket { ticket, user }).await;
    while let Some(response) = waiting.next().await {
        let (status, text) = read(response.unwrap().unwrap()).await;
        assert!(status == 200 && text.contains(r#""MachineAuthorized":true"#), "{status}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_strangers_together_hold_a_bounded_part_of_memory_and_logins_go_on() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let server = Server::start().await;
    let bodies = &server.app.process.bodies.strangers;
    let (mut clients, mut sent) = (Vec::new(), Vec::new());
    // Each body stops before its end: 80 connections with 8 bodies of 60 KiB are 38 MiB.
    for secret in 1..=80 {
        let mut client = server.connect(secret, WINDOW).await;
        for _ in 0..8 {
            let part = Ok::<_, io::Error>(Frame::data(Bytes::from(vec![b' '; 60 * 1024])));
            let body = StreamBody::new(stream::once(async { part }).chain(stream::once(pending())));
            sent.push(tokio::spawn(client.post_body("/machine/register", BodyExt::boxed(body))));
        }
        clients.push(client);
    }
    let full = async {
        while bodies.refused() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, full).await.expect("some are refused");
    assert!(bodies.bytes() <= 32 * MIB, "{} bytes", bodies.bytes());

    let mut honest = server.connect(1000, WINDOW).await;
    let answer = tokio::time::timeout(PATIENCE, honest.post("/machine/register", registration(1000))).await;
    let (status, text) = read(answer.unwrap().unwrap()).await;
    assert!(status == 200 && text.contains("/register/"), "{status}: {text}");

    drop(clients);
    sent.iter().for_each(tokio::task::JoinHandle::abort);
    let freed = async {
        while bodies.bytes() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, freed).await.expect("what was held is free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maps_that_a_node_does_not_read_are_freed() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let server = Server::start().await;
    let user = server.user("alice").await;
    let mut key = None;
    for secret in 1..=400 {
        key = Some(server.node(user, secret).await);
    }
    let request = json!({ "Version": CAPABILITY, "NodeKey": key });
    let read_only = |more: Value| {
        let mut request = request.clone();
        request["ReadOnly"] = json!(true);
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };

    let mut reader = server.connect(400, WINDOW).await;
    let whole = reader.post("/machine/map", read_only(json!({}))).await.unwrap();
    let len: usize = whole.headers()["content-length"].to_str().unwrap().parse().unwrap();
    let map = whole.into_body().collect().await.unwrap().to_bytes();
    assert!(len == map.len() && len > 400_000, "{len} bytes");

    let before = memory();
    let mut unread = Vec::new();
    let mut greedy = server.connect(400, 1).await;
    for n in 0..250 {
        let request = read_only(json!({ "Stream": n % 2 == 0 }));
        // Once it has left too much unread, the connection ends.
        let Ok(response) = greedy.post("/machine/map", request).await else { break };
        unread.push(response);
    }
    let grew = memory().saturating_sub(before) / MIB;
    assert!(grew < 40, "{} maps of {len} bytes: the process grew by {grew} MiB", unread.len());
    let ended = usize::try_from(server.app.tailnet.maps.given_way()).unwrap();
    assert!(unread.len() > 20 && ended + 9 >= unread.len(), "{ended} of {} maps ended", unread.len());
    tokio::time::timeout(PATIENCE, greedy.ended).await.expect("its connection is closed").unwrap();

    let again = reader.post("/machine/map", read_only(json!({}))).await.unwrap();
    let again = again.into_body().collect().await.unwrap().to_bytes();
    assert!(again.len() > 400_000, "another connection of the node goes on: {} bytes", again.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_not_read_ends_when_it_is_superseded() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let server = Server::start().await;
    let user = server.user("alice").await;
    for secret in 1..=100 {
        server.node(user, secret).await;
    }
    let stream = json!({ "Version": CAPABILITY, "NodeKey": support::node_key(100), "Stream": true });
    let mut greedy = server.connect(100, 1).await;
    let mut unread = Vec::new();
    for _ in 0..60 {
        let Ok(response) = greedy.post("/machine/map", stream.clone()).await else { break };
        unread.push(response);
    }
    tokio::time::timeout(PATIENCE / 2, greedy.ended).await.expect("its connection is closed").unwrap();
    assert_eq!(server.app.tailnet.unread.closed(), 1);
}

#[tokio::test]
async fn a_websocket_takes_no_more_before_the_handshake_than_noise_needs() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let server = Server::start().await;
    let (_, message) = server.initiation(1);
    let handshake = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, message);
    let handshake = handshake.replace('+', "%2B").replace('=', "%3D").replace('/', "%2F");
    let mut socket = TcpStream::connect(server.addr).await.unwrap();
    let head = format!(
        "GET /ts2021?X-Tailscale-Handshake={handshake} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    // A masked binary message of 64 MiB begins.
    let begins = [&[0x82, 0xff][..], &(64 * MIB as u64).to_be_bytes(), &[0; 4], &[0; 1024]].concat();
    socket.write_all(&begins).await.unwrap();
    let mut rest = Vec::new();
    // A reset is an end too.
    let _ = tokio::time::timeout(PATIENCE / 4, socket.read_to_end(&mut rest)).await.expect("it ends at once");
    assert!(rest.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&rest));
}

async fn raw(server: &Server, request: &[u8]) -> String {
    let mut socket = TcpStream::connect(server.addr).await.unwrap();
    let _ = socket.write_all(request).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("it is answered");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn http1_heads_are_bounded_and_name_their_host() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let server = Server::start().await;
    for (head, status) in [
        ("GET /key?v=130 HTTP/1.1\r\nConnection: close\r\n\r\n", "400"),
        ("GET /key?v=130 HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n", "400"),
        ("GET /key?v=130 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "200"),
        ("GET /key?v=130 HTTP/1.0\r\n\r\n", "200"),
    ] {
        let answer = raw(&server, head.as_bytes()).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{head}: {answer}");
    }
    let long = |bytes: usize| {
        format!("GET /key?v=130 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: {}\r\n\r\n", "x".repeat(bytes))
    };
    let answer = raw(&server, long(60 * 1024).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // The server refuses it before its end, so its answer may be lost in a reset.
    let answer = raw(&server, long(100 * 1024).as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn checking_a_large_policy_holds_up_nobody() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let server = Server::start().await;
    let rule = json!({ "action": "accept", "src": ["10.0.0.0/8"], "dst": ["192.168.0.0/16:22,80-90"] });
    let policy = json!({ "acls": vec![rule; 10_000] }).to_string();
    let api = http::local(server.app.tailnet.clone()).layer(Extension(Actor::UnixUser(0)));
    let post = |path: &str, body: Value| {
        let request = Request::post(path).header("content-type", "application/json");
        api.clone().oneshot(request.body(Body::from(body.to_string())).unwrap())
    };
    let explain = json!({ "policy": policy, "source": "10.0.0.1", "destination": "192.168.0.1:22" });
    let policy = json!({ "policy": policy });
    for (path, body) in [
        (headsail_api::paths::POLICY_CHECK.path, policy.clone()),
        (headsail_api::paths::POLICY_PREVIEW.path, policy),
        (headsail_api::paths::POLICY_EXPLAIN.path, explain),
    ] {
        // There is one thread. The check begins first, and would end first if it were done on that thread.
        tokio::select! {
            biased;
            checked = post(path, body) => panic!("{path}: {:?}", checked.unwrap().status()),
            answer = raw(&server, b"GET /key?v=130 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") => {
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            }
        }
    }
}
