//! Road 5: an open map stream: the full map first, then what changes, and keep-alives while nothing does.
//!
//! A stream remembers only the snapshot that it sent last. Its first frame and every later one come from the same place, so
//! nothing can overtake the first. A slow reader gets fewer and larger frames; a stalled one is disconnected.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Response;
use bytes::Bytes;
use headsail_tailnet::actor::Actor;
use headsail_tailnet::command::{Command, Rejection, Telling};
use headsail_tailnet::delta::Delta;
use headsail_tailnet::model::node::{Presence, StreamNo, Tombstone};
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::capver::CapVer;
use headsail_wire::hostinfo::Hostinfo;
use headsail_wire::ids::{NodeId, TAGGED_DEVICES};
use headsail_wire::keys::NodeKey;
use headsail_wire::map::{MapResponse, Node};
use tokio::time::Instant;

use crate::app::TailnetService;
use crate::clerk::Failure;
use crate::control::answers::{self, Ended, Pieces, Room, first_piece};
use crate::control::connection::Connection;
use crate::control::reply::refuse;
use crate::frames::encode::{CannotEncode, Compression, ShareKey, frame, keep_alive};

/// A quiet stream sends a keep-alive after this long, and up to [`KEEP_ALIVE_SPREAD_SECS`] more; clients give up after 120 s.
const KEEP_ALIVE: Duration = Duration::from_secs(50);
const KEEP_ALIVE_SPREAD_SECS: u64 = 9;

/// Opens a stream for the node with this key: the node is online from now on, and an older stream of it ends.
pub async fn open(
    tailnet: Arc<TailnetService>,
    connection: &Arc<Connection>,
    (node, key): (NodeId, NodeKey),
    telling: Telling,
    compression: Compression,
) -> Response<Body> {
    let stream = tailnet.next_stream();
    let contact = telling.contact();
    let submit = async |telling| {
        let command = Command::StreamOpened { node, stream, telling: Box::new(telling) };
        tailnet.clerk.submit(Actor::Node(node), command).await
    };
    let opened = match submit(telling).await {
        // The stream opens all the same: the client reports the rest again with its next update.
        Err(Failure::Rejected(Rejection::TooOften)) => submit(contact).await,
        opened => opened,
    };
    let snapshot = match opened {
        Ok(snapshot) => snapshot,
        Err(failure) => return refuse(failure),
    };
    // The node was deleted at the same moment, for example by the next command of the same commit.
    if let Some(stone) = snapshot.tombstone(&key).filter(|_| snapshot.node(node).is_none()) {
        return farewell(tailnet, connection, stone, compression);
    }
    let (pieces, body) = answers::stream(connection);
    tokio::spawn(async move {
        let map_stream =
            MapStream { tailnet: tailnet.clone(), node, stream: Some(stream), compression, pieces };
        map_stream.run(snapshot).await;
        tailnet.clerk.notify(Actor::Node(node), Command::StreamClosed { node, stream }).await;
        map_stream.pieces.end().await;
    });
    Response::new(body)
}

/// Opens a read-only stream, which does not make the node online.
pub fn watch(
    tailnet: Arc<TailnetService>,
    connection: &Arc<Connection>,
    node: NodeId,
    compression: Compression,
) -> Response<Body> {
    let (pieces, body) = answers::stream(connection);
    let snapshot = tailnet.clerk.snapshot();
    let mut place = tailnet.maps.take(node);
    let map_stream = MapStream { tailnet, node, stream: None, compression, pieces };
    tokio::spawn(async move {
        tokio::select! {
            () = map_stream.run(snapshot) => {}
            () = place.lost() => {}
        }
        map_stream.pieces.end().await;
    });
    Response::new(body)
}

/// The stream of a client whose node was deleted: it says that the key has expired, so that the client asks for a login. The
/// map has everything that a first map has, because clients keep using its relays; and the stream stays open, because clients
/// would reconnect at once.
pub fn farewell(
    tailnet: Arc<TailnetService>,
    connection: &Arc<Connection>,
    stone: &Tombstone,
    compression: Compression,
) -> Response<Body> {
    let (pieces, body) = answers::stream(connection);
    let settings = tailnet.clerk.snapshot().settings().clone();
    // The DNS settings are empty, as for a node whose login has expired: it is no longer a member.
    let first = MapResponse {
        derp_map: Some(settings.derp.clone()),
        dns_config: Some(Arc::default()),
        domain: settings.base_domain.clone(),
        packet_filters: Some([("base".to_owned(), Some(Arc::from([])))].into()),
        ..expired_self(stone)
    };
    let (node, node_key) = (stone.node, stone.node_key);
    let mut place = tailnet.maps.take(node);
    let map_stream = MapStream { tailnet, node, stream: None, compression, pieces };
    tokio::spawn(async move {
        let stays = async {
            if let Ok(first) = frame(&first, compression)
                && map_stream.send(first).await.is_ok()
            {
                map_stream.linger(&node_key).await;
            }
        };
        tokio::select! {
            () = stays => {}
            () = place.lost() => {}
        }
        map_stream.pieces.end().await;
    });
    Response::new(body)
}

/// The deleted node as its own client sees it.
fn expired_self(stone: &Tombstone) -> MapResponse {
    let node = Node {
        id: stone.node,
        stable_id: stone.node.stable(),
        name: String::new(),
        user: TAGGED_DEVICES,
        key: stone.node_key,
        key_expiry: Some(stone.deleted),
        machine: stone.machine_key,
        disco_key: Default::default(),
        addresses: Vec::new(),
        allowed_ips: Vec::new(),
        endpoints: Vec::new(),
        home_derp: 0,
        hostinfo: Hostinfo::default(),
        created: stone.deleted,
        cap: CapVer::default(),
        tags: Vec::new(),
        primary_routes: Vec::new(),
        last_seen: None,
        online: None,
        machine_authorized: true,
        cap_map: BTreeMap::new(),
        expired: true,
    };
    MapResponse { node: Some(Arc::new(node)), ..MapResponse::default() }
}

struct MapStream {
    tailnet: Arc<TailnetService>,
    node: NodeId,
    /// `None` for a read-only stream.
    stream: Option<StreamNo>,
    compression: Compression,
    pieces: Pieces,
}

impl MapStream {
    async fn run(&self, mut sent: Arc<Tailnet>) {
        let mut snapshots = self.tailnet.clerk.follow();
        let Ok(Some(first)) = self.tailnet.full_maps.frame(&sent, self.node, self.compression) else {
            return;
        };
        if self.send(first).await.is_err() {
            return;
        }
        let mut quiet_until = Instant::now() + self.keep_alive_after();
        loop {
            tokio::select! {
                changed = snapshots.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // Room first, then the newest snapshot: it includes what was published in the meantime.
                    let Ok(room) = self.room().await else { return };
                    let now = snapshots.borrow_and_update().tailnet().clone();
                    if self.is_superseded(&now) {
                        return;
                    }
                    match self.output(&sent, &now) {
                        Output::Nothing => drop(room),
                        Output::Frame(mut bytes) => {
                            room.send(first_piece(&mut bytes));
                            if self.send(bytes).await.is_err() {
                                return;
                            }
                            quiet_until = Instant::now() + self.keep_alive_after();
                        }
                        Output::Last(mut bytes, key) => {
                            room.send(first_piece(&mut bytes));
                            if self.send(bytes).await.is_err() {
                                return;
                            }
                            return self.linger(&key).await;
                        }
                        Output::End => return,
                    }
                    sent = now;
                }
                () = tokio::time::sleep_until(quiet_until) => {
                    if self.send_keep_alive().await.is_err() {
                        return;
                    }
                    quiet_until = Instant::now() + self.keep_alive_after();
                }
                () = self.pieces.closed() => return,
            }
        }
    }

    /// Keeps the stream of a deleted node alive for as long as its tombstone exists, so that the client waits for a login
    /// instead of reconnecting again and again.
    async fn linger(&self, deleted: &NodeKey) {
        let mut snapshots = self.tailnet.clerk.follow();
        let mut quiet_until = Instant::now() + self.keep_alive_after();
        while snapshots.borrow_and_update().tailnet().tombstone(deleted).is_some() {
            tokio::select! {
                changed = snapshots.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = tokio::time::sleep_until(quiet_until) => {
                    if self.send_keep_alive().await.is_err() {
                        return;
                    }
                    quiet_until = Instant::now() + self.keep_alive_after();
                }
                () = self.pieces.closed() => return,
            }
        }
    }

    async fn send_keep_alive(&self) -> Result<(), Ended> {
        self.send(keep_alive(self.compression).map_err(|CannotEncode| Ended)?).await
    }

    async fn send(&self, mut bytes: Bytes) -> Result<(), Ended> {
        while !bytes.is_empty() {
            self.room().await?.send(first_piece(&mut bytes));
        }
        Ok(())
    }

    /// Waits until the client takes more, unless a newer stream supersedes this one meanwhile.
    async fn room(&self) -> Result<Room<'_>, Ended> {
        if let Some(room) = self.pieces.room_now() {
            return Ok(room);
        }
        tokio::select! {
            room = self.pieces.room() => room,
            () = self.superseded() => Err(Ended),
        }
    }

    async fn superseded(&self) {
        let mut snapshots = self.tailnet.clerk.follow();
        while !self.is_superseded(snapshots.borrow_and_update().tailnet()) {
            if snapshots.changed().await.is_err() {
                return;
            }
        }
    }

    fn keep_alive_after(&self) -> Duration {
        let spread = self.node.get().wrapping_mul(7919) % (KEEP_ALIVE_SPREAD_SECS * 1000);
        KEEP_ALIVE + Duration::from_millis(spread)
    }

    /// Whether the node has or had a newer stream: then this one has to end.
    fn is_superseded(&self, now: &Tailnet) -> bool {
        let (Some(ours), Some(node)) = (self.stream, now.node(self.node)) else { return false };
        !matches!(node.presence, Presence::Online { stream, .. } if stream == ours)
    }

    fn output(&self, then: &Arc<Tailnet>, now: &Arc<Tailnet>) -> Output {
        let (Some(_), Some(_)) = (then.node(self.node), now.node(self.node)) else {
            let stone = then.node(self.node).and_then(|n| now.tombstone(&n.node_key));
            let last = |s: &Arc<Tombstone>| {
                Some(Output::Last(frame(&expired_self(s), self.compression).ok()?, s.node_key))
            };
            return stone.and_then(last).unwrap_or(Output::End);
        };
        let shared = self.tailnet.encoder.step(then, now);
        let render = || match shared.step.delta(self.node) {
            Delta::Frame(response) => frame(&response, self.compression).map(Some),
            Delta::Nothing | Delta::Gone => Ok(None),
        };
        let bytes = match self.share_key(then, now).filter(|_| !shared.step.tells_of_itself(self.node)) {
            Some(key) => shared.frame(key, render),
            None => render(),
        };
        match bytes {
            Ok(Some(bytes)) => Output::Frame(bytes),
            Ok(None) => Output::Nothing,
            Err(CannotEncode) => Output::End,
        }
    }

    /// Viewers with equal keys are sent the same bytes, unless something about the viewer itself differs.
    fn share_key(&self, then: &Tailnet, now: &Tailnet) -> Option<ShareKey> {
        let class = |t: &Tailnet| t.access().engine().class_of(self.node);
        Some(ShareKey { then: class(then)?, now: class(now)?, compression: self.compression })
    }
}

/// What follows from a new snapshot.
enum Output {
    Nothing,
    Frame(Bytes),
    /// This, and then only keep-alives until the tombstone with this key is gone.
    Last(Bytes, NodeKey),
    End,
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    use crate::testing::{let_in, submit, tailnet, user};

    #[tokio::test]
    async fn a_node_deleted_while_it_connects_gets_a_farewell() {
        let tailnet = tailnet();
        let alice = user(&tailnet, "alice").await;
        for round in 1..=40 {
            let (node, _) = let_in(&tailnet, round, alice).await;
            // Both commands are often part of the same commit.
            let at = (node.id, node.node_key);
            let connection = Arc::new(Connection::new(node.machine_key, None, None));
            let opening = open(tailnet.clone(), &connection, at, Telling::default(), Compression::Plain);
            let (response, _) = tokio::join!(opening, submit(&tailnet, Command::DeleteNode(node.id)));
            let first = response.into_body().frame().await;
            let sent = first.and_then(Result::ok).and_then(|f| f.into_data().ok());
            assert!(sent.is_some_and(|bytes| bytes.len() > 4), "round {round}: the stream sent nothing");
        }
    }
}
