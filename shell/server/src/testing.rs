//! Fixtures for tests: a server without sockets, and clients that join it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Response;
use headsail_noise::Responder;
use headsail_store::memory::MemoryStore;
use headsail_tailnet::actor::Actor;
use headsail_tailnet::command::{Command, NewUser};
use headsail_tailnet::model::node::Node;
use headsail_tailnet::model::settings::Settings as TailnetSettings;
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::hostinfo::Hostinfo;
use headsail_wire::ids::UserId;
use headsail_wire::keys::{MachineKey, NodeKey};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::app::{App, Process, TailnetService};
use crate::clerk::Clerk;
use crate::config::Config;
use crate::control::connection::Connection;
use crate::control::register;
use crate::relay::Relay;

/// A server without sockets and without a relay.
pub fn app() -> App {
    app_with(None)
}

/// A server without sockets, with this relay.
pub fn app_with(relay: Option<Relay>) -> App {
    let process = Process { noise: Responder::new(&[7; 32]).unwrap(), relay, bodies: Arc::default() };
    App { process: Arc::new(process), tailnet: tailnet() }
}

/// A tailnet without rows.
pub fn tailnet() -> Arc<TailnetService> {
    tailnet_over(MemoryStore::default())
}

/// A tailnet that keeps its rows in this store, which is empty.
pub fn tailnet_over(store: MemoryStore) -> Arc<TailnetService> {
    let tailnet = Tailnet::empty(Arc::new(TailnetSettings::basic()));
    let clerk = Clerk::start(tailnet, Box::new(store)).unwrap();
    let settings = Config::embedded(&std::env::temp_dir(), &BTreeMap::new()).unwrap();
    Arc::new(TailnetService::new(clerk, settings.server_url.text, settings.policy))
}

pub async fn submit(tailnet: &TailnetService, command: Command) -> Arc<Tailnet> {
    let done = tailnet.clerk.submit(Actor::Server, command).await;
    done.unwrap_or_else(|_| panic!("the command is accepted"))
}

pub async fn user(tailnet: &TailnetService, name: &str) -> UserId {
    let t = submit(tailnet, Command::CreateUser(NewUser { name: name.into(), ..NewUser::default() })).await;
    t.users().find(|u| u.name == name).unwrap().id
}

pub async fn read(response: Response<Body>) -> Value {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("{bytes:?}"))
}

/// The machine key and the node key of a client.
pub fn keys(number: u8) -> (MachineKey, NodeKey) {
    (MachineKey::from_bytes([number; 32]), NodeKey::from_bytes([number; 32]))
}

/// The response to a registration with these fields besides the key.
pub async fn registers(tailnet: &Arc<TailnetService>, number: u8, more: Value) -> Value {
    let (machine, node_key) = keys(number);
    let mut request = json!({ "Version": 130, "NodeKey": node_key });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let connection = Connection::new(machine, None, None);
    read(register::post(tailnet.clone(), &connection, request.to_string().into()).await).await
}

/// A node whose registration was approved by an administrator, and the URL that its client waited at.
pub async fn let_in(tailnet: &Arc<TailnetService>, number: u8, user: UserId) -> (Arc<Node>, String) {
    let host = Hostinfo { hostname: "web".into(), os: "linux".into(), ..Hostinfo::default() };
    let response = registers(tailnet, number, json!({ "Hostinfo": host })).await;
    let url = response["AuthURL"].as_str().unwrap().to_owned();
    let ticket = url.rsplit('/').next().unwrap().to_owned();
    let t = submit(tailnet, Command::GrantTicket { ticket, user }).await;
    (t.node_by_key(&keys(number).1).unwrap().clone(), url)
}
