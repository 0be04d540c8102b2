//! Road 3: `POST /machine/map`: opens a stream of maps, asks for one map, or updates what the client reports about itself.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use headsail_tailnet::actor::Actor;
use headsail_tailnet::command::{Command, Rejection, Telling};
use headsail_tailnet::decide::map_update::node_of;
use headsail_wire::ids::NodeId;
use headsail_wire::json;
use headsail_wire::keys::MachineKey;
use headsail_wire::map::MapRequest;

use crate::app::TailnetService;
use crate::clerk::Failure;
use crate::control::reply::{fault, refuse, text};
use crate::control::stream;
use crate::frames::encode::{CannotEncode, Compression};

pub async fn post(tailnet: Arc<TailnetService>, machine: MachineKey, body: &[u8]) -> Response<Body> {
    let request: MapRequest = match json::decode(body) {
        Ok(request) => request,
        Err(error) => {
            return text(StatusCode::BAD_REQUEST, format!("invalid map request: {error}"));
        }
    };
    if !request.version.is_supported() {
        return refuse(Failure::Rejected(Rejection::TooOld(request.version)));
    }
    let compression = Compression::asked_for(&request.compress);
    let snapshot = tailnet.clerk.snapshot();
    let node = match node_of(&snapshot, &machine, &request.node_key) {
        Ok(node) => node.id,
        Err(rejection) => {
            let deleted = snapshot.tombstone(&request.node_key).filter(|s| s.machine_key == machine);
            return match deleted {
                Some(stone) if request.stream => stream::farewell(tailnet.clone(), stone, compression),
                _ => refuse(Failure::Rejected(rejection)),
            };
        }
    };
    match (request.stream, request.omit_peers, request.read_only) {
        (true, _, false) => {
            stream::open(tailnet, (node, request.node_key), telling(request), compression).await
        }
        (true, _, true) => stream::watch(tailnet, node, compression),
        (false, true, false) => match tailnet.clerk.submit(Actor::Node(node), update(node, request)).await {
            Ok(_) => Response::new(Body::empty()),
            Err(failure) => refuse(failure),
        },
        (false, _, true) => one_map(&tailnet, node, compression),
        (false, false, false) => match tailnet.clerk.submit(Actor::Node(node), update(node, request)).await {
            Ok(_) => one_map(&tailnet, node, compression),
            Err(failure) => refuse(failure),
        },
    }
}

fn telling(request: MapRequest) -> Telling {
    Telling {
        hostinfo: request.hostinfo,
        endpoints: request.endpoints,
        disco_key: request.disco_key,
        cap: request.version,
    }
}

fn update(node: NodeId, request: MapRequest) -> Command {
    Command::MapUpdate { node, telling: Box::new(telling(request)) }
}

fn one_map(tailnet: &TailnetService, node: NodeId, compression: Compression) -> Response<Body> {
    match tailnet.full_maps.frame(&tailnet.clerk.snapshot(), node, compression) {
        Ok(Some(frame)) => Response::new(Body::from(frame)),
        Err(CannotEncode) => fault(),
        Ok(None) => refuse(Failure::Rejected(Rejection::NotFound("this node was deleted".into()))),
    }
}
