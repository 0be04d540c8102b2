//! The relay from the outside: what clients send, and what each of them receives.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};

use headsail_derp::frame::{DISCO_MAGIC, Frame, GoneReason, Header, kind};
use headsail_derp::limits::*;
use headsail_derp::relay::Next;
use headsail_derp::{ClientInfo, Close, ConnId, Malformed, Relay};
use headsail_wire::keys::NodeKey;
use headsail_wire::time::Time;
use proptest::prelude::*;

/// A frame that a client received, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Got {
    Packet(NodeKey, Vec<u8>),
    Gone(NodeKey, GoneReason),
    Pong([u8; 8]),
    KeepAlive,
}

/// A relay with a clock, and the connections that it has woken so far.
struct World {
    relay: Relay,
    now: Time,
    woken: Vec<ConnId>,
}

fn key(n: u8) -> NodeKey {
    NodeKey::from_bytes([n; 32])
}

fn disco(n: u8) -> Vec<u8> {
    let mut packet = DISCO_MAGIC.to_vec();
    packet.resize(100, n);
    packet
}

impl World {
    fn new() -> World {
        World { relay: Relay::new(), now: Time::from_secs(1_000_000), woken: Vec::new() }
    }

    fn join(&mut self, n: u8) -> ConnId {
        let id = self.relay.join(key(n), ClientInfo::default(), self.now, 0, &mut self.woken);
        assert!(self.take(id).is_empty(), "nothing is queued for a new connection");
        id
    }

    fn send(&mut self, from: ConnId, frames: &[Frame<'_>]) -> Result<(), Close> {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.write(&mut bytes));
        let done = self.relay.receive(from, &bytes, self.now, &mut self.woken)?;
        assert_eq!(done, bytes.len());
        Ok(())
    }

    /// Takes all frames that are queued for a connection, which is idle afterwards.
    fn take(&mut self, id: ConnId) -> Vec<Got> {
        let (mut got, mut written) = (Vec::new(), None);
        loop {
            match self.relay.take(id, written.take()) {
                Next::Write(chunk) => {
                    got.extend(decode_all(chunk.bytes()));
                    written = Some(chunk);
                }
                Next::Idle => return got,
                Next::Close(why) => panic!("closed: {why}"),
            }
        }
    }

    fn closed(&mut self, id: ConnId) -> Option<Close> {
        match self.relay.take(id, None) {
            Next::Close(why) => Some(why),
            _ => None,
        }
    }

    fn leave(&mut self, id: ConnId) {
        self.relay.leave(id, &mut self.woken);
    }
}

fn decode_all(mut bytes: &[u8]) -> Vec<Got> {
    let mut all = Vec::new();
    while let Some((frame, len)) = Frame::decode(bytes).unwrap() {
        all.push(match frame {
            Frame::RecvPacket(src, packet) => Got::Packet(src, packet.to_vec()),
            Frame::PeerGone(peer, why) => Got::Gone(peer, why),
            Frame::Pong(data) => Got::Pong(data),
            Frame::KeepAlive => Got::KeepAlive,
            other => panic!("a server never sends {other:?}"),
        });
        bytes = &bytes[len..];
    }
    assert!(bytes.is_empty());
    all
}

#[test]
fn packets_reach_their_destination_and_wake_it_once() {
    let mut world = World::new();
    let (a, b) = (world.join(1), world.join(2));
    world.send(a, &[Frame::SendPacket(key(2), b"one"), Frame::SendPacket(key(2), b"two")]).unwrap();
    world.send(a, &[Frame::SendPacket(key(2), b"three")]).unwrap();
    assert_eq!(world.woken, [b]);
    let got = world.take(b);
    let texts = [&b"one"[..], b"two", b"three"];
    assert_eq!(got, texts.map(|text| Got::Packet(key(1), text.to_vec())));
    world.send(a, &[Frame::SendPacket(key(2), b"four")]).unwrap();
    assert_eq!(world.woken, [b, b]);
    assert!(world.take(a).is_empty());
}

#[test]
fn a_packet_to_the_senders_own_key_comes_back() {
    let mut world = World::new();
    let a = world.join(1);
    world.send(a, &[Frame::SendPacket(key(1), b"echo")]).unwrap();
    assert_eq!(world.take(a), [Got::Packet(key(1), b"echo".to_vec())]);
}

#[test]
fn the_largest_packet_passes_and_a_larger_one_closes_the_connection() {
    let mut world = World::new();
    let (a, b) = (world.join(1), world.join(2));
    let large = vec![5; MAX_PACKET];
    world.send(a, &[Frame::SendPacket(key(2), &large)]).unwrap();
    assert_eq!(world.take(b), [Got::Packet(key(1), large)]);
    let len = (33 + MAX_PACKET) as u32;
    let header = Header { kind: kind::SEND_PACKET, len }.bytes();
    let refused = world.relay.receive(a, &header, world.now, &mut world.woken);
    assert_eq!(refused, Err(Close::Malformed(Malformed::Length(kind::SEND_PACKET, len))));
}

#[test]
fn receivers_of_a_nodes_packets_are_notified_when_it_disconnects() {
    let mut world = World::new();
    let (a, b, c) = (world.join(1), world.join(2), world.join(3));
    world.send(a, &[Frame::SendPacket(key(2), b"hello")]).unwrap();
    world.take(b);
    world.leave(a);
    assert_eq!(world.take(b), [Got::Gone(key(1), GoneReason::Disconnected)]);
    assert!(world.take(c).is_empty(), "a node that got no packets from it is not notified");

    let again = world.join(1);
    world.leave(again);
    assert!(world.take(b).is_empty(), "notified once; a new connection starts afresh");

    let again = world.join(1);
    world.send(again, &[Frame::SendPacket(key(2), b"hello again")]).unwrap();
    world.take(b);
    world.leave(again);
    assert_eq!(world.take(b), [Got::Gone(key(1), GoneReason::Disconnected)], "notified each time");
}

#[test]
fn the_number_of_remembered_senders_is_bounded() {
    let mut world = World::new();
    let hub = world.join(1);
    let crowd = |world: &mut World, round: u8| -> Vec<ConnId> {
        let numbers = 0..MAX_HEARD_FROM as u32 + 10;
        numbers
            .map(|n| {
                let mut bytes = [round; 32];
                bytes[..4].copy_from_slice(&n.to_be_bytes());
                let node = NodeKey::from_bytes(bytes);
                let id = world.relay.join(node, ClientInfo::default(), world.now, 0, &mut world.woken);
                world.send(id, &[Frame::SendPacket(key(1), b"hello")]).unwrap();
                assert_eq!(world.take(hub), [Got::Packet(node, b"hello".to_vec())]);
                id
            })
            .collect()
    };
    for round in [2, 3] {
        crowd(&mut world, round).into_iter().for_each(|id| world.leave(id));
        assert_eq!(world.take(hub).len(), MAX_HEARD_FROM, "disconnected nodes make room");
    }
}

#[test]
fn a_reused_connection_id_inherits_nothing() {
    let mut world = World::new();
    let (a, b) = (world.join(1), world.join(2));
    world.send(a, &[Frame::SendPacket(key(2), b"hello")]).unwrap();
    world.leave(b);
    let c = world.join(3);
    assert_eq!(c, b);
    world.send(a, &[Frame::SendPacket(key(2), &disco(1)), Frame::SendPacket(key(3), b"you")]).unwrap();
    assert_eq!(world.take(c), [Got::Packet(key(1), b"you".to_vec())]);
    assert_eq!(world.take(a), [Got::Gone(key(2), GoneReason::NotHere)]);
    world.leave(c);
    let d = world.join(4);
    assert_eq!(d, c);
    world.leave(a);
    assert!(world.take(d).is_empty(), "it got no packets from the node that disconnected");
}

#[test]
fn an_unknown_destination_is_reported_for_disco_packets_only_and_at_a_limited_rate() {
    let mut world = World::new();
    let a = world.join(1);
    world.send(a, &[Frame::SendPacket(key(9), b"data")]).unwrap();
    assert!(world.take(a).is_empty());
    let probe = disco(0);
    world.send(a, &vec![Frame::SendPacket(key(9), &probe); 50]).unwrap();
    let gone = Got::Gone(key(9), GoneReason::NotHere);
    assert_eq!(world.take(a), vec![gone.clone(); 3]);
    for _ in 0..3 {
        world.now = world.now.plus_secs(1);
        world.send(a, &vec![Frame::SendPacket(key(9), &probe); 50]).unwrap();
        assert_eq!(world.take(a), std::slice::from_ref(&gone));
    }
    world.now = world.now.plus_secs(100);
    world.send(a, &vec![Frame::SendPacket(key(9), &probe); 50]).unwrap();
    assert_eq!(world.take(a).len(), 3, "unused notices do not add up beyond the burst");
}

#[test]
fn of_two_connections_with_the_same_key_the_last_one_to_send_receives() {
    let mut world = World::new();
    let (old, new, a) = (world.join(1), world.join(1), world.join(2));
    let hello = [Frame::SendPacket(key(1), b"hello")];
    let got = [Got::Packet(key(2), b"hello".to_vec())];
    assert_eq!(world.relay.stats().duplicated, 1);
    world.send(a, &hello).unwrap();
    assert_eq!((world.take(old), world.take(new)), (vec![], got.to_vec()));
    world.send(old, &[Frame::NotePreferred(true)]).unwrap();
    world.send(a, &hello).unwrap();
    assert_eq!((world.take(old), world.take(new)), (got.to_vec(), vec![]));
    world.send(new, &[Frame::Ping(*b"12345678")]).unwrap();
    world.take(new);
    world.leave(new);
    world.send(a, &hello).unwrap();
    assert_eq!(world.take(old), got);
    assert_eq!(world.relay.stats().duplicated, 0);
    assert!(world.take(a).is_empty(), "the node is still connected");
}

#[test]
fn the_number_of_connections_with_the_same_key_is_bounded() {
    let mut world = World::new();
    let all: Vec<_> = (0..MAX_DUPLICATES + 2).map(|_| world.join(1)).collect();
    assert_eq!(world.closed(all[0]), Some(Close::Duplicate));
    assert_eq!(world.closed(all[1]), Some(Close::Duplicate));
    assert_eq!(world.closed(all[2]), None);
    all.into_iter().for_each(|id| world.leave(id));
    assert_eq!(world.relay.stats().connections, 0);
    assert_eq!(world.relay.stats().duplicated, 0);
}

#[test]
fn at_most_one_ping_answer_is_queued() {
    let mut world = World::new();
    let a = world.join(1);
    world.send(a, &[Frame::Ping(*b"12345678"), Frame::Ping(*b"abcdefgh")]).unwrap();
    assert_eq!(world.woken, [a]);
    assert_eq!(world.take(a), [Got::Pong(*b"12345678")]);
    let long = [&Header { kind: kind::PING, len: 1000 }.bytes()[..], &[7; 1000]].concat();
    assert_eq!(world.relay.receive(a, &long, world.now, &mut world.woken), Ok(1005));
    assert_eq!(world.take(a), [Got::Pong([7; 8])]);
}

#[test]
fn mesh_frames_close_the_connection() {
    let mut world = World::new();
    for frame in [Frame::WatchConns, Frame::ClosePeer(key(2)), Frame::ForwardPacket(key(1), key(2), b"x")] {
        let a = world.join(1);
        let kind = frame.to_vec()[0];
        assert_eq!(world.send(a, &[frame]), Err(Close::NotMesh(kind)));
        world.leave(a);
    }
}

#[test]
fn frames_without_meaning_here_are_skipped_at_any_length_and_fragmentation() {
    let mut world = World::new();
    let (a, b) = (world.join(1), world.join(2));
    let filler = vec![kind::SEND_PACKET; 300_000];
    let mut bytes = Vec::new();
    for frame in [Frame::Unknown(0x66, &filler), Frame::ServerInfo([0; 24], &filler), Frame::KeepAlive] {
        frame.write(&mut bytes);
    }
    Frame::SendPacket(key(2), b"after").write(&mut bytes);
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let piece = &rest[..rest.len().min(70_001)];
        let done = world.relay.receive(a, piece, world.now, &mut world.woken).unwrap();
        assert!(done > 0);
        rest = &rest[done..];
    }
    assert_eq!(world.take(b), [Got::Packet(key(1), b"after".to_vec())]);
}

#[test]
fn keepalives_come_every_minute_plus_jitter() {
    let mut world = World::new();
    let start = world.now;
    let ids: Vec<_> = (0..20u32)
        .map(|n| {
            let key = key(n as u8 + 1);
            let jitter = n.wrapping_mul(0x9e37_79b9);
            world.relay.join(key, ClientInfo::default(), start, jitter, &mut world.woken)
        })
        .collect();
    let mut times = BTreeSet::new();
    for id in ids {
        let due = world.relay.tick(id, start, &mut world.woken);
        assert!(world.take(id).is_empty());
        assert!((60_000_000..65_000_000).contains(&due.since(start)));
        let next = world.relay.tick(id, due, &mut world.woken);
        assert_eq!(world.take(id), [Got::KeepAlive]);
        assert!((60_000_000..65_000_000).contains(&next.since(due)));
        times.insert(due);
    }
    assert!(times.len() > 10, "they are spread out");
}

#[test]
fn refusing_a_node_closes_all_of_its_connections() {
    let mut world = World::new();
    let (one, two, other) = (world.join(1), world.join(1), world.join(2));
    world.relay.refuse(&key(1), &mut world.woken);
    assert_eq!(world.woken, [one, two]);
    assert_eq!(world.closed(one), Some(Close::Refused));
    assert_eq!(world.closed(two), Some(Close::Refused));
    assert_eq!(world.closed(other), None);
}

#[test]
fn a_stalled_reader_takes_bounded_memory_and_does_not_delay_others() {
    let mut world = World::new();
    let (a, slow, quick) = (world.join(1), world.join(2), world.join(3));
    let packet = vec![1; 8192];
    for n in 0..10_000 {
        world.send(a, &[Frame::SendPacket(key(2), &packet), Frame::SendPacket(key(3), b"quick")]).unwrap();
        assert_eq!(world.take(quick).len(), 1, "exchange {n}");
        assert!(world.relay.stats().queued_bytes <= MAX_DATA_BYTES);
    }
    let kept = world.take(slow).len();
    assert_eq!(world.relay.stats().dropped_full as usize, 10_000 - kept);
    assert!(kept > 100);
}

#[test]
fn the_total_size_of_all_queues_is_bounded() {
    let mut world = World::new();
    let from = world.join(255);
    let packet = vec![1; 60_000];
    let receivers = MAX_QUEUED_BYTES / MAX_DATA_BYTES + 100;
    for n in 0..receivers {
        let mut bytes = [7; 32];
        bytes[..4].copy_from_slice(&(n as u32).to_be_bytes());
        let key = NodeKey::from_bytes(bytes);
        world.relay.join(key, ClientInfo::default(), world.now, 0, &mut world.woken);
        for _ in 0..17 {
            world.send(from, &[Frame::SendPacket(key, &packet)]).unwrap();
        }
    }
    let bound = MAX_QUEUED_BYTES + MAX_DATA_BYTES + receivers * MAX_SCARCE_BYTES;
    assert!(world.relay.stats().queued_bytes <= bound);
    assert!(world.relay.stats().queued_bytes > MAX_QUEUED_BYTES);
}

#[test]
fn the_stats_are_correct() {
    let mut world = World::new();
    let (a, b) = (world.join(1), world.join(2));
    world.send(a, &[Frame::NotePreferred(true), Frame::NotePreferred(true)]).unwrap();
    world.send(b, &[Frame::NotePreferred(true), Frame::NotePreferred(false)]).unwrap();
    world.send(a, &[Frame::SendPacket(key(2), b"12345"), Frame::SendPacket(key(3), b"1")]).unwrap();
    let stats = world.relay.stats();
    assert_eq!((stats.connections, stats.homes, stats.joined), (2, 1, 2));
    assert_eq!((stats.packets, stats.bytes, stats.dropped_unknown), (2, 6, 1));
    assert_eq!(stats.queued_bytes, 5 + 32 + 5);
    world.leave(b);
    world.leave(a);
    let stats = world.relay.stats();
    assert_eq!((stats.connections, stats.homes, stats.queued_bytes), (0, 0, 0));
}

#[derive(Clone, Debug)]
enum Step {
    Join(u8),
    Leave(u8),
    Send { from: u8, to: u8, len: usize, disco: bool },
    Take(u8),
    Garbage(u8, Vec<u8>),
    Wait(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let node = 1u8..6;
    prop_oneof![
        2 => node.clone().prop_map(Step::Join),
        1 => any::<u8>().prop_map(Step::Leave),
        12 => (any::<u8>(), node, 4usize..3000, any::<bool>())
            .prop_map(|(from, to, len, disco)| Step::Send { from, to, len, disco }),
        4 => any::<u8>().prop_map(Step::Take),
        1 => (any::<u8>(), prop::collection::vec(any::<u8>(), 0..80)).prop_map(|(n, b)| Step::Garbage(n, b)),
        1 => any::<u8>().prop_map(Step::Wait),
    ]
}

proptest! {
    /// In any history, nothing panics, packets of one kind from one node to another arrive in order and at the right
    /// destination, every connection with something to write has been woken, and the limits hold.
    #[test]
    fn any_history_preserves_order_and_limits(steps in prop::collection::vec(step(), 1..200)) {
        let mut world = World::new();
        let mut conns: Vec<(ConnId, NodeKey)> = Vec::new();
        let mut last: BTreeMap<(ConnId, NodeKey, bool), u32> = BTreeMap::new();
        let mut number = 0u32;
        for step in steps {
            let pick = |n: u8, conns: &[(ConnId, NodeKey)]| conns.get(usize::from(n) % conns.len().max(1)).copied();
            match step {
                Step::Join(n) => {
                    let id = world.join(n);
                    last.retain(|(conn, ..), _| *conn != id);
                    conns.push((id, key(n)));
                }
                Step::Leave(n) => if let Some((id, _)) = pick(n, &conns) {
                    world.leave(id);
                    conns.retain(|(other, _)| *other != id);
                    world.woken.retain(|other| *other != id);
                },
                Step::Send { from, to, len, disco } => if let Some((id, _)) = pick(from, &conns) {
                    number += 1;
                    let mut packet = if disco { DISCO_MAGIC.to_vec() } else { vec![0; 6] };
                    packet.extend_from_slice(&number.to_be_bytes());
                    packet.resize(len.max(70), 0);
                    world.send(id, &[Frame::SendPacket(key(to), &packet)]).unwrap();
                },
                Step::Take(n) => if let Some((id, own)) = pick(n, &conns) {
                    let woken = world.woken.contains(&id);
                    world.woken.retain(|other| *other != id);
                    let got = world.take(id);
                    prop_assert!(woken || got.is_empty(), "{own} has frames to write and was not woken");
                    for got in got {
                        let Got::Packet(src, packet) = got else { continue };
                        let number = u32::from_be_bytes(*packet[6..].first_chunk().unwrap());
                        let before = last.insert((id, src, packet.starts_with(&DISCO_MAGIC)), number);
                        prop_assert!(before < Some(number), "out of order");
                    }
                },
                Step::Garbage(n, bytes) => if let Some((id, _)) = pick(n, &conns) {
                    let done = world.relay.receive(id, &bytes, world.now, &mut world.woken);
                    prop_assert!(done.is_err() || done.unwrap() <= bytes.len());
                    world.leave(id);
                    conns.retain(|(other, _)| *other != id);
                    world.woken.retain(|other| *other != id);
                },
                Step::Wait(n) => world.now = world.now.plus_secs(i64::from(n)),
            }
            let bound = conns.len() * (MAX_DATA_BYTES + MAX_DISCO_BYTES + MAX_NOTICE_BYTES);
            prop_assert!(world.relay.stats().queued_bytes <= bound);
            prop_assert_eq!(world.relay.stats().connections, conns.len());
        }
        for (id, _) in conns {
            world.leave(id);
        }
        prop_assert_eq!(world.relay.stats().queued_bytes, 0);
    }
}
