//! Frames and sealed messages: round trips, truncation and random bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use headsail_derp::frame::{Frame, GoneReason, Header, Malformed, NONCE_LEN, Presence, kind};
use headsail_derp::limits::{MAX_PACKET, MAX_SERVER_INFO};
use headsail_derp::{ClientInfo, Identity, ServerInfo};
use headsail_wire::keys::NodeKey;
use proptest::prelude::*;

const A: NodeKey = NodeKey::from_bytes([0xaa; 32]);
const B: NodeKey = NodeKey::from_bytes([0xbb; 32]);

fn samples() -> Vec<Frame<'static>> {
    let here = Presence { addr: Some("192.0.2.1:443".parse().unwrap()), flags: 5 };
    vec![
        Frame::ServerKey(A),
        Frame::ClientInfo(A, [3; NONCE_LEN], b"sealed"),
        Frame::ServerInfo([4; NONCE_LEN], b"sealed too"),
        Frame::SendPacket(B, b"packet"),
        Frame::RecvPacket(B, b""),
        Frame::KeepAlive,
        Frame::NotePreferred(true),
        Frame::PeerGone(A, GoneReason::NotHere),
        Frame::PeerPresent(A, here),
        Frame::ForwardPacket(A, B, b"packet"),
        Frame::WatchConns,
        Frame::ClosePeer(B),
        Frame::Ping(*b"12345678"),
        Frame::Pong(*b"87654321"),
        Frame::Health("dull"),
        Frame::Restarting(1000, 60_000),
        Frame::Unknown(0x77, b"whatever"),
    ]
}

#[test]
fn every_frame_round_trips_and_is_incomplete_when_truncated() {
    for frame in samples() {
        let bytes = frame.to_vec();
        assert_eq!(Frame::decode(&bytes), Ok(Some((frame.clone(), bytes.len()))));
        for cut in 0..bytes.len() {
            assert_eq!(Frame::decode(&bytes[..cut]), Ok(None), "{frame:?} cut at {cut}");
        }
    }
}

#[test]
fn encoded_frames_match_the_protocol() {
    let key = "aa".repeat(32);
    for (frame, hex) in [
        (Frame::ServerKey(A), format!("010000002844455250f09f9491{key}")),
        (Frame::SendPacket(A, b"\x01\x02"), format!("0400000022{key}0102")),
        (Frame::PeerGone(A, GoneReason::Disconnected), format!("0800000021{key}00")),
        (Frame::KeepAlive, "0600000000".into()),
        (Frame::Restarting(1, 2), "15000000080000000100000002".into()),
    ] {
        assert_eq!(headsail_wire::keys::hex(&frame.to_vec()), hex);
    }
}

#[test]
fn fields_that_old_servers_do_not_send_get_defaults() {
    let gone = [&[kind::PEER_GONE, 0, 0, 0, 32][..], A.bytes()].concat();
    let (frame, _) = Frame::decode(&gone).unwrap().unwrap();
    assert_eq!(frame, Frame::PeerGone(A, GoneReason::Disconnected));
    let present = [&[kind::PEER_PRESENT, 0, 0, 0, 32][..], A.bytes()].concat();
    let (frame, _) = Frame::decode(&present).unwrap().unwrap();
    assert_eq!(frame, Frame::PeerPresent(A, Presence { addr: None, flags: 0 }));
}

#[test]
fn invalid_lengths_are_rejected_by_the_header() {
    for (kind, len) in [
        (kind::SEND_PACKET, 31),
        (kind::SEND_PACKET, 33 + MAX_PACKET as u32),
        (kind::PING, 7),
        (kind::PING, 1001),
        (kind::NOTE_PREFERRED, 0),
        (kind::WATCH_CONNS, 1),
        (kind::CLIENT_INFO, 16 * 1024 + 1),
        (0x77, MAX_SERVER_INFO as u32 + 1),
        (0x77, u32::MAX),
    ] {
        assert_eq!(Frame::decode(&Header { kind, len }.bytes()), Err(Malformed::Length(kind, len)));
    }
}

#[test]
fn sealed_messages_prove_the_keys_of_both_sides() {
    let (server, client, other) = (Identity::new([1; 32]), Identity::new([2; 32]), Identity::new([3; 32]));
    let info = ClientInfo { can_ack_pings: true, app_name: "probe".into(), ..ClientInfo::default() };
    let frame = client.client_info(server.public(), &[9; 24], &info);
    let Ok(Some((Frame::ClientInfo(key, nonce, sealed), _))) = Frame::decode(&frame) else { panic!() };
    assert_eq!(key, client.public());

    let joining = server.open_client_info(key, &nonce, sealed).unwrap();
    assert_eq!((joining.key, &joining.info), (client.public(), &info));
    assert!(server.open_client_info(other.public(), &nonce, sealed).is_none(), "another client's key");
    assert!(other.open_client_info(key, &nonce, sealed).is_none(), "another server");
    assert!(server.open_client_info(key, &[8; 24], sealed).is_none());
    assert!(server.open_client_info(key, &nonce, &sealed[1..]).is_none());
    // The shared secret with the zero key is always zero, so anyone could claim that key.
    let zero = client.client_info(NodeKey::default(), &[9; 24], &info);
    assert!(server.open_client_info(NodeKey::default(), &[9; 24], &zero[5 + 32 + 24..]).is_none());

    let frame = joining.server_info(&[7; 24], &ServerInfo::default());
    let Ok(Some((Frame::ServerInfo(nonce, sealed), _))) = Frame::decode(&frame) else { panic!() };
    assert_eq!(client.open_server_info(server.public(), &nonce, sealed), Some(ServerInfo::default()));
    assert_eq!(other.open_server_info(server.public(), &nonce, sealed), None);
}

#[test]
fn sealed_messages_are_decoded_as_in_go() {
    let read: ClientInfo =
        headsail_wire::json::decode(br#"{"Version":2,"canackpings":true,"new":1,"meshKey":"00"}"#).unwrap();
    assert_eq!(read, ClientInfo { can_ack_pings: true, ..ClientInfo::default() });
    let written = serde_json::to_string(&ServerInfo::default()).unwrap();
    assert_eq!(written, r#"{"version":2}"#);
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0u8..0x18) {
        let _ = Frame::decode(&bytes);
        let framed = [&Header { kind, len: bytes.len() as u32 }.bytes()[..], &bytes].concat();
        let _ = Frame::decode(&framed);
        let server = Identity::new([1; 32]);
        prop_assert!(server.open_client_info(A, &[0; NONCE_LEN], &bytes).is_none());
    }
}
