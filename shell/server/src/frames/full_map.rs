//! The first frame of a stream, assembled from pieces that many streams share.
//!
//! A full map is mostly peers, and most peers look the same to all viewers. So peers are rendered, and for most clients
//! compressed, in pieces of up to 64; a piece can be used for every viewer that sees the same rows of it. What differs
//! between viewers comes first: the viewer itself, its filter, the routers as it sees them. Clients read several zstd frames in
//! a row as one (util/zstdframe of the Go client), and pieces of JSON as the text that they add up to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use headsail_netmap::diff;
use headsail_tailnet::model::node::Node;
use headsail_tailnet::project::{visible, without_peers};
use headsail_tailnet::tailnet::Tailnet;
use headsail_tailnet::view;
use headsail_wire::ids::NodeId;

use crate::frames::encode::{CannotEncode, Compression, encode, framed};
use crate::system::clock;

/// Peers in a piece: their ids differ in the last 6 bits only.
const PIECE: u64 = 64;
/// How many pieces are kept. A tailnet of 10,000 nodes has 157 for each set of visible nodes.
const MAX_PIECES: usize = 4096;

/// Identifies a piece: its place, which of its rows are in it, and its encoding.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct PieceKey {
    place: u64,
    mask: u64,
    compression: Compression,
}

/// A rendered piece, and the rows that it was rendered from.
struct Piece {
    rows: Vec<Arc<Node>>,
    domain: String,
    bytes: Bytes,
}

/// Pieces of full maps, shared by all streams of one tailnet.
#[derive(Default)]
pub struct FullMaps {
    pieces: Mutex<BTreeMap<PieceKey, Piece>>,
}

impl FullMaps {
    /// The complete first frame for a node, after its length; `None` if the node does not exist.
    ///
    /// # Errors
    /// [`CannotEncode`]: the stream has to end.
    pub fn frame(
        &self,
        t: &Tailnet,
        viewer: NodeId,
        compression: Compression,
    ) -> Result<Option<Bytes>, CannotEncode> {
        let (Some(me), Some(view)) = (t.node(viewer), without_peers(t, viewer)) else { return Ok(None) };
        let mut head = diff::full(&view);
        head.control_time = Some(clock::now());
        let mut own = Vec::new();
        let mut shared: BTreeMap<u64, Vec<Arc<Node>>> = BTreeMap::new();
        for node in visible(t, viewer) {
            if view::is_alike_for_all(t, node) {
                shared.entry(node.id.get() / PIECE).or_default().push(node.clone());
            } else {
                own.extend(view::peer(t, me, node));
            }
        }
        let mut text = serde_json::to_vec(&head)?;
        // A comma follows every peer but the last, which is rendered for this viewer alone.
        let Some(last) = own.pop().or_else(|| pop_last(&mut shared).map(|n| view::peer_for_all(t, &n)))
        else {
            return framed(&[encode(text, compression)?]).map(Some);
        };
        text.pop();
        text.extend_from_slice(br#","Peers":["#);
        for peer in &own {
            serde_json::to_writer(&mut text, peer)?;
            text.push(b',');
        }
        let mut parts = vec![encode(text, compression)?];
        for (place, rows) in shared {
            parts.push(self.piece(t, place, rows, compression)?);
        }
        let mut tail = serde_json::to_vec(&last)?;
        tail.extend_from_slice(b"]}");
        parts.push(encode(tail, compression)?);
        framed(&parts).map(Some)
    }

    fn piece(
        &self,
        t: &Tailnet,
        place: u64,
        rows: Vec<Arc<Node>>,
        compression: Compression,
    ) -> Result<Bytes, CannotEncode> {
        let mask = rows.iter().fold(0u64, |mask, n| mask | 1 << (n.id.get() % PIECE));
        let key = PieceKey { place, mask, compression };
        let domain = &t.settings().base_domain;
        let fits = |p: &Piece| {
            p.domain == *domain
                && p.rows.len() == rows.len()
                && p.rows.iter().zip(&rows).all(|(a, b)| Arc::ptr_eq(a, b) || a.same_to_others(b))
        };
        // A poisoned lock means that another thread panicked; the pieces in the map are complete all the same.
        if let Some(known) =
            self.pieces.lock().unwrap_or_else(|e| e.into_inner()).get(&key).filter(|p| fits(p))
        {
            return Ok(known.bytes.clone());
        }
        let mut text = Vec::with_capacity(rows.len() * 700);
        for node in &rows {
            serde_json::to_writer(&mut text, &view::peer_for_all(t, node))?;
            text.push(b',');
        }
        let bytes = encode(text, compression)?;
        let mut pieces = self.pieces.lock().unwrap_or_else(|e| e.into_inner());
        if pieces.len() >= MAX_PIECES && !pieces.contains_key(&key) {
            pieces.clear();
        }
        pieces.insert(key, Piece { rows, domain: domain.clone(), bytes: bytes.clone() });
        Ok(bytes)
    }
}

/// Removes and returns the last row of the last piece.
fn pop_last(shared: &mut BTreeMap<u64, Vec<Arc<Node>>>) -> Option<Arc<Node>> {
    let mut rows = shared.last_entry()?;
    let last = rows.get_mut().pop();
    if rows.get().is_empty() {
        rows.remove();
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use headsail_tailnet::change::Change;
    use headsail_tailnet::command::{Command, Env, NewUser, Registration, ShownKey};
    use headsail_tailnet::decide::decide;
    use headsail_tailnet::model::settings::Settings;
    use headsail_tailnet::project::project;
    use headsail_wire::capver::CapVer;
    use headsail_wire::hostinfo::Hostinfo;
    use headsail_wire::keys::{MachineKey, NodeKey};
    use headsail_wire::map::MapResponse;
    use headsail_wire::time::Time;

    fn run(t: &mut Tailnet, command: Command) {
        let mut zero = |buffer: &mut [u8]| buffer.fill(7);
        let changes = decide(t, &command, &mut Env { now: Time::from_secs(1_000_000), rng: &mut zero });
        t.apply(&changes.unwrap_or_else(|r| panic!("{}", r.text())));
    }

    /// A tailnet with this many nodes; the third is a subnet router.
    fn tailnet(nodes: u8) -> Tailnet {
        let mut t = Tailnet::empty(Arc::new(Settings::basic()));
        run(&mut t, Command::CreateUser(NewUser { name: "ann".into(), ..NewUser::default() }));
        let user = t.users().next().unwrap().id;
        for n in 1..=nodes {
            let routes = if n == 3 { vec!["10.0.0.0/8".parse().unwrap()] } else { Vec::new() };
            let registration = Registration {
                machine_key: MachineKey::from_bytes([n; 32]),
                cap: CapVer::FLOOR,
                node_key: NodeKey::from_bytes([n; 32]),
                old_node_key: NodeKey::default(),
                auth_key: ShownKey::None,
                expiry: None,
                hostinfo: Hostinfo {
                    hostname: format!("host{n}"),
                    routable_ips: routes,
                    ..Hostinfo::default()
                },
                ephemeral: false,
                source: None,
            };
            run(&mut t, Command::Register(Box::new(registration)));
            let ticket = t.tickets().next().unwrap().id.clone();
            run(&mut t, Command::GrantTicket { ticket: ticket.clone(), user });
            t.apply(&[Change::TicketGone(ticket)]);
        }
        let router = t.nodes().nth(2).map(|n| n.id);
        if let Some(router) = router {
            let routes = ["10.0.0.0/8".parse().unwrap()].into();
            run(&mut t, Command::ApproveRoutes { node: router, routes });
        }
        t
    }

    fn read(frame: &[u8], compression: Compression) -> MapResponse {
        let (len, body) = frame.split_at(4);
        assert_eq!(u32::from_le_bytes(len.try_into().unwrap()) as usize, body.len());
        let text = match compression {
            Compression::Plain => body.to_vec(),
            Compression::Zstd => zstd::stream::decode_all(body).unwrap(),
        };
        let mut map: MapResponse = serde_json::from_slice(&text).unwrap();
        map.peers.sort_by_key(|p| p.id);
        map.control_time = None;
        map
    }

    #[test]
    fn i2_the_first_frame_is_the_projection_whatever_was_rendered_before() {
        let maps = FullMaps::default();
        for nodes in [1, 2, 3, 64, 70, 130] {
            let mut t = tailnet(nodes);
            for round in 0..2 {
                for viewer in t.nodes().map(|n| n.id).collect::<Vec<_>>() {
                    let expected = diff::full(&project(&t, viewer).unwrap());
                    for compression in [Compression::Plain, Compression::Zstd] {
                        let sent = read(&maps.frame(&t, viewer, compression).unwrap().unwrap(), compression);
                        assert_eq!(sent, expected, "{nodes} nodes, round {round}, viewer {viewer}");
                    }
                }
                let node = t.nodes().last().unwrap().id;
                run(&mut t, Command::RenameNode { node, name: format!("renamed{round}") });
            }
        }
    }

    #[test]
    fn viewers_share_pieces() {
        let (maps, t) = (FullMaps::default(), tailnet(200));
        for viewer in t.nodes().map(|n| n.id).skip(5).take(50) {
            maps.frame(&t, viewer, Compression::Zstd).unwrap().unwrap();
        }
        // A viewer in the first piece does not see itself there; all other pieces are the same for every viewer.
        assert_eq!(maps.pieces.lock().unwrap().len(), 50 + 3);
    }
}
