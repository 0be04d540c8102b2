//! Road 3: `POST /machine/map`: opens a stream of maps, asks for one map, or updates what the client reports about itself.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use headsail_tailnet::actor::Actor;
use headsail_tailnet::command::{Command, Rejection, Telling};
use headsail_tailnet::decide::map_update::node_of;
use headsail_wire::ids::NodeId;
use headsail_wire::map::MapRequest;

use crate::app::TailnetService;
use crate::clerk::Failure;
use crate::control::answers;
use crate::control::bodies::{Received, shortened};
use crate::control::connection::Connection;
use crate::control::reply::{fault, refuse, text};
use crate::control::stream;
use crate::frames::encode::{CannotEncode, Compression};

/// Maps of one node that are being sent at once, apart from its stream. Clients ask for one at a time.
pub(crate) const MAX_MAPS: usize = 8;

pub async fn post(
    tailnet: Arc<TailnetService>,
    connection: &Arc<Connection>,
    body: Received,
) -> Response<Body> {
    let machine = connection.machine;
    let request: MapRequest = match body.parse() {
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
                Some(stone) if request.stream => {
                    stream::farewell(tailnet.clone(), connection, stone, compression)
                }
                _ => refuse(Failure::Rejected(rejection)),
            };
        }
    };
    match (request.stream, request.omit_peers, request.read_only) {
        (true, _, false) => {
            stream::open(tailnet, connection, (node, request.node_key), telling(request), compression).await
        }
        (true, _, true) => stream::watch(tailnet, connection, node, compression),
        (false, true, false) => match tailnet.clerk.submit(Actor::Node(node), update(node, request)).await {
            Ok(_) => Response::new(Body::empty()),
            Err(failure) => refuse(failure),
        },
        (false, _, true) => one_map(&tailnet, connection, node, compression),
        (false, false, false) => match tailnet.clerk.submit(Actor::Node(node), update(node, request)).await {
            Ok(_) => one_map(&tailnet, connection, node, compression),
            Err(failure) => refuse(failure),
        },
    }
}

fn telling(request: MapRequest) -> Telling {
    Telling {
        hostinfo: request.hostinfo.map(shortened),
        endpoints: request.endpoints,
        disco_key: request.disco_key,
        cap: request.version,
    }
}

fn update(node: NodeId, request: MapRequest) -> Command {
    Command::MapUpdate { node, telling: Box::new(telling(request)) }
}

fn one_map(
    tailnet: &TailnetService,
    connection: &Arc<Connection>,
    node: NodeId,
    compression: Compression,
) -> Response<Body> {
    // Older maps are freed before this one is rendered.
    let place = tailnet.maps.take(node);
    match tailnet.full_maps.frame(&tailnet.clerk.snapshot(), node, compression) {
        Ok(Some(frame)) => Response::new(answers::whole(connection, frame, place)),
        Err(CannotEncode) => fault(),
        Ok(None) => refuse(Failure::Rejected(Rejection::NotFound("this node was deleted".into()))),
    }
}
