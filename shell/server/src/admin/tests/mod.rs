//! The API as clients see it: statuses and bodies from the router, over an in-memory store.

mod access;
mod keys;
mod log;
mod nodes;
mod openapi;
mod policy;
mod users;

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, header};
use axum::{Extension, Router};
use headsail_store::memory::MemoryStore;
use headsail_tailnet::actor::Actor;
use headsail_tailnet::command::{Command, Registration, ShownKey};
use headsail_wire::capver::CapVer;
use headsail_wire::hostinfo::Hostinfo;
use headsail_wire::keys::{MachineKey, NodeKey};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{Trust, routes};
use crate::app::TailnetService;
use crate::testing::tailnet_over;

/// A server without sockets.
pub struct Server {
    pub tailnet: Arc<TailnetService>,
    pub store: MemoryStore,
    router: Router,
}

impl Server {
    /// A server that trusts every request.
    pub fn new() -> Server {
        Server::trusting(Trust::Socket)
    }

    pub fn trusting(trust: Trust) -> Server {
        let store = MemoryStore::default();
        Server::over(tailnet_over(store.clone()), store, trust)
    }

    /// Another way to the same tailnet.
    pub fn over(tailnet: Arc<TailnetService>, store: MemoryStore, trust: Trust) -> Server {
        let router = routes(tailnet.clone(), trust);
        let router = match trust {
            // The listener of the socket says which user is calling.
            Trust::Socket => router.layer(Extension(Actor::UnixUser(1000))),
            Trust::Bearer => router,
        };
        Server { router, tailnet, store }
    }

    /// Sends a request without a body; see [`Server::send`].
    pub async fn ask(&self, line: &str) -> (u16, Value) {
        self.send(line, "").await
    }

    /// Sends a request; `line` is `METHOD /path?query`, with the path below `/api/v1`.
    pub async fn send(&self, line: &str, body: impl Into<String>) -> (u16, Value) {
        self.request(line, body.into(), &[]).await
    }

    pub async fn request(&self, line: &str, body: String, headers: &[(&str, &str)]) -> (u16, Value) {
        let (method, path) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(format!("/api/v1{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let kind = response.headers().get(header::CONTENT_TYPE).unwrap().to_str().unwrap().to_owned();
        assert_eq!(
            kind,
            if status < 400 { "application/json" } else { "application/problem+json" },
            "{line}"
        );
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let value: Value = serde_json::from_slice(&body).unwrap();
        if status >= 400 {
            assert_eq!(value["status"], status, "{line}");
            assert!(!value["detail"].as_str().unwrap().is_empty(), "{line}");
        }
        openapi::check(line, status, &value);
        (status, value)
    }

    /// Sends a request and expects success.
    pub async fn ok(&self, line: &str, body: Value) -> Value {
        let (status, value) = self.send(line, body.to_string()).await;
        assert_eq!(status, 200, "{line}: {value}");
        value
    }

    /// Sends a request, expects this error status, and returns the detail of the problem.
    pub async fn refused(&self, status: u16, line: &str, body: Value) -> String {
        let (got, value) = self.send(line, body.to_string()).await;
        assert_eq!(got, status, "{line}: {value}");
        value["detail"].as_str().unwrap().to_owned()
    }

    /// Creates a user.
    pub async fn user(&self, name: &str) {
        self.ok("POST /user", json!({ "name": name })).await;
    }

    /// Creates a pre-auth key with this request, registers a node with it, and returns the id of the node.
    pub async fn join(&self, number: u8, key: Value, hostinfo: Hostinfo) -> u64 {
        let created = self.ok("POST /preauthkey", key).await;
        let text = created["preAuthKey"]["key"].as_str().unwrap();
        let registration = registration(number, ShownKey::of(text), hostinfo);
        let node_key = registration.node_key;
        let t = self
            .tailnet
            .clerk
            .submit(Actor::Server, Command::Register(Box::new(registration)))
            .await
            .unwrap();
        t.node_by_key(&node_key).unwrap().id.get()
    }

    /// Starts a registration without a key and returns the id of the pending login.
    pub async fn knock(&self, number: u8, hostinfo: Hostinfo) -> String {
        let registration = registration(number, ShownKey::None, hostinfo);
        let node_key = registration.node_key;
        let t = self
            .tailnet
            .clerk
            .submit(Actor::Server, Command::Register(Box::new(registration)))
            .await
            .unwrap();
        t.tickets().find(|k| k.asking.node_key == node_key).unwrap().id.clone()
    }
}

fn registration(number: u8, auth_key: ShownKey, hostinfo: Hostinfo) -> Registration {
    Registration {
        machine_key: MachineKey::from_bytes([number; 32]),
        cap: CapVer(130),
        node_key: NodeKey::from_bytes([number | 0x80; 32]),
        old_node_key: NodeKey::default(),
        auth_key,
        expiry: None,
        hostinfo,
        ephemeral: false,
        source: None,
    }
}

/// A host that advertises these routes.
pub fn host(name: &str, routes: &[&str]) -> Hostinfo {
    Hostinfo {
        hostname: name.to_owned(),
        routable_ips: routes.iter().map(|r| r.parse().unwrap()).collect(),
        ..Hostinfo::default()
    }
}
