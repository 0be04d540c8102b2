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
        (false, true, false) => match update(&tailnet, node, telling(request)).await {
            Ok(()) => Response::new(Body::empty()),
            Err(failure) => refuse(failure),
        },
        (false, _, true) => one_map(&tailnet, connection, node, compression),
        (false, false, false) => match update(&tailnet, node, telling(request)).await {
            // A node that may not report anything now, because its login has expired for example, may still ask for its
            // map.
            Ok(()) | Err(Failure::Rejected(Rejection::KeyExpired | Rejection::TooOften)) => {
                one_map(&tailnet, connection, node, compression)
            }
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

/// A node reports what has changed. If it changes too often, it is refused, but peers still learn where it can be reached.
async fn update(tailnet: &TailnetService, node: NodeId, telling: Telling) -> Result<(), Failure> {
    let contact = telling.contact();
    let submit = async |telling| {
        let command = Command::MapUpdate { node, telling: Box::new(telling) };
        tailnet.clerk.submit(Actor::Node(node), command).await
    };
    match submit(telling).await {
        Ok(_) => Ok(()),
        Err(Failure::Rejected(Rejection::TooOften)) => {
            submit(contact).await?;
            Err(Failure::Rejected(Rejection::TooOften))
        }
        Err(failure) => Err(failure),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{keys, let_in, read, submit, tailnet, user};
    use serde_json::json;

    #[tokio::test]
    async fn an_expired_node_may_ask_for_its_map_but_reports_nothing() {
        let tailnet = tailnet();
        let alice = user(&tailnet, "alice").await;
        let (node, _) = let_in(&tailnet, 1, alice).await;
        let (other, _) = let_in(&tailnet, 2, alice).await;
        let (machine, key) = keys(1);
        let asks = |omit_peers: bool| {
            let host = json!({ "Hostname": "printer" });
            let body = json!({ "Version": 130, "NodeKey": key, "OmitPeers": omit_peers, "Hostinfo": host });
            let tailnet = tailnet.clone();
            async move {
                let connection = Arc::new(Connection::new(machine, None, None));
                post(tailnet, &connection, body.to_string().into()).await
            }
        };
        let expire = Command::ExpireNode { node: node.id, at: Some(crate::system::clock::now()) };
        submit(&tailnet, expire).await;
        assert_eq!(asks(true).await.status(), StatusCode::UNAUTHORIZED);
        let response = asks(false).await;
        assert_eq!(response.status(), StatusCode::OK);
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let map = read(Response::new(Body::from(bytes.slice(4..)))).await;
        assert_eq!((&map["Node"]["Expired"], map.get("Peers")), (&json!(true), None), "{map}");
        assert_eq!(tailnet.clerk.snapshot().node(node.id).unwrap().name, "web");

        submit(&tailnet, Command::ExpireNode { node: node.id, at: None }).await;
        assert_eq!(asks(true).await.status(), StatusCode::OK);
        let snapshot = tailnet.clerk.snapshot();
        assert_eq!(snapshot.node(node.id).unwrap().name, "printer");
        assert!(snapshot.node(other.id).is_some());
    }

    #[tokio::test]
    async fn a_node_that_changes_all_the_time_is_refused_but_stays_reachable() {
        let tailnet = tailnet();
        let alice = user(&tailnet, "alice").await;
        let (node, _) = let_in(&tailnet, 1, alice).await;
        let (machine, key) = keys(1);
        let (mut accepted, rounds) = (0, 400u16);
        for round in 1..=rounds {
            let body = json!({
                "Version": 130, "NodeKey": key, "OmitPeers": true, "Hostinfo": { "Hostname": format!("h{round}") },
                "Endpoints": [format!("192.0.2.1:{round}")],
            });
            let connection = Arc::new(Connection::new(machine, None, None));
            let response = post(tailnet.clone(), &connection, body.to_string().into()).await;
            let retry_after = response.headers().get("retry-after").cloned();
            match response.status() {
                StatusCode::OK => accepted += 1,
                StatusCode::TOO_MANY_REQUESTS => assert_eq!(retry_after.unwrap(), "3"),
                other => panic!("{other}"),
            }
            let snapshot = tailnet.clerk.snapshot();
            let endpoints = &snapshot.node(node.id).unwrap().contact.endpoints;
            assert_eq!(endpoints[0].port(), round, "its address is always taken");
        }
        assert!((190..230).contains(&accepted), "{accepted} changes were accepted");
        assert_eq!(tailnet.clerk.changes_refused(), u64::from(rounds) - accepted);
        let opened = Command::StreamOpened {
            node: node.id,
            stream: tailnet.next_stream(),
            telling: Box::new(Telling::default()),
        };
        submit(&tailnet, opened).await;
        submit(&tailnet, Command::RenameNode { node: node.id, name: "named-by-admin".into() }).await;
    }
}
