//! Several tailnets in one process.

use axum::body::Body;
use axum::http::Request;
use headsail_tailnet::command::Command;
use headsail_wire::ids::NodeId;
use headsail_wire::map::MapResponse;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::control::connection::Connection;
use crate::control::map;
use crate::http::public;
use crate::testing::{self, keys};

/// A tailnet with one user and three nodes, of which `prefix` is in every name, and a policy that admits one port.
async fn tailnet(owner: &str, prefix: &str, port: u16) -> Arc<TailnetService> {
    let tailnet = testing::tailnet();
    let user = testing::user(&tailnet, owner).await;
    let text =
        format!(r#"{{"acls": [{{"action": "accept", "src": ["{owner}@"], "dst": ["{owner}@:{port}"]}}]}}"#);
    testing::submit(&tailnet, Command::SetPolicy { text, kept: true }).await;
    for number in 1..=3 {
        let (node, _) = testing::let_in(&tailnet, number, user).await;
        rename(&tailnet, node.id, format!("{prefix}{number}")).await;
    }
    tailnet
}

async fn rename(tailnet: &TailnetService, node: NodeId, name: String) {
    testing::submit(tailnet, Command::RenameNode { node, name }).await;
}

/// The id of the node with these keys.
fn node(tailnet: &TailnetService, number: u8) -> NodeId {
    tailnet.clerk.snapshot().node_by_key(&keys(number).1).unwrap().id
}

/// An open map stream of the first node.
async fn open(tailnet: &Arc<TailnetService>, compression: &str) -> Body {
    let (machine, node_key) = keys(1);
    let request = json!({
        "Version": 130, "NodeKey": node_key, "Stream": true, "KeepAlive": true, "Compress": compression,
    });
    let connection = Arc::new(Connection::new(machine, None, None));
    let response = map::post(tailnet.clone(), &connection, request.to_string().into()).await;
    assert_eq!(response.status(), 200);
    response.into_body()
}

async fn next(stream: &mut Body, compression: &str) -> MapResponse {
    let bytes = stream.frame().await.unwrap().unwrap().into_data().unwrap();
    let text = if compression == "zstd" {
        zstd::stream::decode_all(&bytes[4..]).unwrap()
    } else {
        bytes[4..].to_vec()
    };
    serde_json::from_slice(&text).unwrap()
}

/// Checks a first frame against the tailnet that [`tailnet`] makes of these arguments.
fn check_first(frame: &MapResponse, owner: &str, prefix: &str, port: u16) {
    let me = frame.node.as_ref().unwrap();
    let mut names: Vec<&str> = frame.peers.iter().map(|p| p.name.as_str()).collect();
    names.push(&me.name);
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.iter().all(|n| n.starts_with(prefix)), "{names:?}");
    let users: Vec<&str> = frame.user_profiles.iter().map(|u| u.login_name.as_str()).collect();
    assert!(users.len() == 1 && users[0].starts_with(owner), "{users:?}");
    let filters = serde_json::to_string(&frame.packet_filters).unwrap();
    assert!(filters.contains(&format!(r#""First":{port}"#)), "{filters}");
}

#[tokio::test]
async fn two_tailnets_in_one_process_never_mix() {
    let process = testing::app().process;
    for compression in ["", "zstd"] {
        let red = tailnet("alice", "red", 22).await;
        let blue = tailnet("bob", "blue", 80).await;
        let (mut to_red, mut to_blue) = (open(&red, compression).await, open(&blue, compression).await);

        let revision = |t: &TailnetService| t.clerk.snapshot().revision();
        assert_eq!(revision(&red), revision(&blue), "the test is about revisions that coincide");
        assert_eq!(node(&red, 2), node(&blue, 2), "and about ids that do");
        check_first(&next(&mut to_red, compression).await, "alice", "red", 22);
        check_first(&next(&mut to_blue, compression).await, "bob", "blue", 80);

        for round in ["a", "b"] {
            for (tailnet, stream, prefix) in [(&red, &mut to_red, "red"), (&blue, &mut to_blue, "blue")] {
                rename(tailnet, node(tailnet, 2), format!("{prefix}{round}")).await;
                let frame = next(stream, compression).await;
                let names: Vec<&str> = frame.peers_changed.iter().map(|p| p.name.as_str()).collect();
                assert!(
                    names.len() == 1 && names[0].starts_with(&format!("{prefix}{round}")),
                    "{prefix}: {names:?}"
                );
            }
            assert_eq!(revision(&red), revision(&blue));
        }

        let before = revision(&blue);
        testing::submit(&red, Command::DeleteNode(node(&red, 3))).await;
        assert_eq!(next(&mut to_red, compression).await.peers_removed.len(), 1);
        assert_eq!(revision(&blue), before, "a change in one tailnet is none in the other");
        assert_eq!(blue.clerk.snapshot().node_count(), 3);

        let noise_key = async |tailnet: Arc<TailnetService>| -> Value {
            let router = public(App { process: process.clone(), tailnet });
            let request = Request::get("/key?v=130").body(Body::empty()).unwrap();
            testing::read(router.oneshot(request).await.unwrap()).await
        };
        assert_eq!(noise_key(red).await, noise_key(blue).await, "both answer with the key of the process");
    }
}
