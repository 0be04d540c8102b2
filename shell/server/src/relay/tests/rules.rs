//! Admission, notifications and deadlines; over pipes, on a paused clock.

use std::sync::atomic::{AtomicBool, Ordering};

use headsail_derp::Close;
use headsail_derp::frame::kind;
use tokio::time::Instant;

use super::super::end::Failure;
use super::*;

/// A pipe to the relay without a handshake.
fn raw(relay: &Relay) -> (DuplexStream, JoinHandle<End>) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let relay = relay.clone();
    (near, tokio::spawn(async move { relay.serve_stream(far, REMOTE, || ()).await }))
}

#[tokio::test(start_paused = true)]
async fn of_two_connections_with_one_key_the_last_writer_receives() {
    let relay = open_relay();
    let ((mut old, _), (mut new, _)) = (pipe(&relay, 1).await, pipe(&relay, 1).await);
    let (mut a, _) = pipe(&relay, 2).await;
    a.packet(key(1), b"one").await;
    assert_eq!(new.got().await, Got::Packet(a.key, b"one".to_vec()));
    assert_eq!(old.settle().await, []);
    a.packet(key(1), b"two").await;
    assert_eq!(old.got().await, Got::Packet(a.key, b"two".to_vec()));
    assert_eq!(new.settle().await, []);
    drop(new);
    while relay.stats().core.connections > 2 {
        tokio::task::yield_now().await;
    }
    a.packet(key(1), b"three").await;
    assert_eq!(old.got().await, Got::Packet(a.key, b"three".to_vec()));
    assert_eq!(a.settle().await, []);
}

#[tokio::test(start_paused = true)]
async fn clients_are_notified_of_peers_that_are_unknown_or_leave() {
    let relay = open_relay();
    let ((mut a, _), (mut b, served)) = (pipe(&relay, 1).await, pipe(&relay, 2).await);
    a.packet(key(9), b"data").await;
    a.packet(key(9), &disco(1)).await;
    assert_eq!(a.settle().await, [Got::Gone(key(9), GoneReason::NotHere)]);
    b.packet(a.key, b"hello").await;
    assert_eq!(a.got().await, Got::Packet(key(2), b"hello".to_vec()));
    drop(b);
    assert_eq!(served.await.unwrap(), End::Eof);
    assert_eq!(a.got().await, Got::Gone(key(2), GoneReason::Disconnected));
}

#[tokio::test(start_paused = true)]
async fn an_idle_client_gets_a_keep_alive_every_minute() {
    let relay = open_relay();
    let (mut a, _) = pipe(&relay, 1).await;
    for _ in 0..3 {
        let before = Instant::now();
        assert_eq!(a.got().await, Got::KeepAlive);
        let waited = before.elapsed();
        assert!((60..=66).contains(&waited.as_secs()), "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn handshakes_have_deadlines() {
    let relay = open_relay();
    let (_near, served) = raw(&relay);
    let before = Instant::now();
    assert_eq!(served.await.unwrap(), End::Handshake(Failure::Timeout));
    assert_eq!(before.elapsed().as_secs(), 10);

    // A client that does not even read the greeting.
    let (_near, far) = tokio::io::duplex(1);
    let end = relay.serve_stream(far, REMOTE, || ()).await;
    assert_eq!(end, End::Handshake(Failure::Timeout));
    assert_eq!(relay.stats().handshake_failed, 2);
    assert_eq!(relay.stats().core.joined, 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_must_prove_that_it_has_its_private_key() {
    let relay = open_relay();
    let server = Identity::new(SECRET).public();
    let (thief, victim) = (Identity::new([1; 32]), Identity::new([2; 32]));
    let mut hello = thief.client_info(server, &[0; 24], &ClientInfo::default());
    hello[5..37].copy_from_slice(victim.public().bytes());
    let (mut near, served) = raw(&relay);
    near.write_all(&hello).await.unwrap();
    assert_eq!(served.await.unwrap(), End::Handshake(Failure::Unproven));
    for garbage in [&[0x02, 0xff, 0xff, 0xff, 0xff][..], &[0x04, 0, 0, 0, 40], b"GET / HTTP/1.1\r\n"] {
        let (mut near, served) = raw(&relay);
        near.write_all(garbage).await.unwrap();
        assert_eq!(served.await.unwrap(), End::Handshake(Failure::Malformed));
    }
}

#[tokio::test(start_paused = true)]
async fn frames_sent_along_with_the_handshake_are_not_lost() {
    let relay = open_relay();
    let (mut b, _) = pipe(&relay, 2).await;
    let server = Identity::new(SECRET).public();
    let mut hello = Identity::new([1; 32]).client_info(server, &[0; 24], &ClientInfo::default());
    Frame::SendPacket(b.key, b"eager").write(&mut hello);
    let (mut near, _served) = raw(&relay);
    near.write_all(&hello).await.unwrap();
    assert_eq!(b.got().await, Got::Packet(key(1), b"eager".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn only_admitted_nodes_may_connect_and_stay() {
    let open = Arc::new(AtomicBool::new(true));
    let rule = Arc::clone(&open);
    let relay =
        Relay::new(SECRET, Arc::new(move |node| node != key(3).bytes() && rule.load(Ordering::Relaxed)));
    let ((mut a, served_a), (mut b, served_b)) = (pipe(&relay, 1).await, pipe(&relay, 2).await);
    let server = Identity::new(SECRET).public();
    let (mut near, served) = raw(&relay);
    let hello = Identity::new([3; 32]).client_info(server, &[0; 24], &ClientInfo::default());
    near.write_all(&hello).await.unwrap();
    assert_eq!(served.await.unwrap(), End::Refused);

    relay.refuse(key(1).bytes());
    assert_eq!(a.got().await, Got::End);
    assert_eq!(served_a.await.unwrap(), End::Closed(Close::Refused));

    open.store(false, Ordering::Relaxed);
    assert_eq!(b.got().await, Got::End, "the rule is applied again");
    assert_eq!(served_b.await.unwrap(), End::Refused);
    assert_eq!(relay.stats().refused, 3);
}

#[tokio::test(start_paused = true)]
async fn mesh_frames_and_oversize_close_the_connection() {
    let relay = open_relay();
    for frame in [Frame::WatchConns, Frame::ClosePeer(key(2)), Frame::ForwardPacket(key(1), key(2), b"x")] {
        let (mut a, served) = pipe(&relay, 1).await;
        let kind = frame.to_vec()[0];
        a.send(frame).await;
        assert_eq!(a.got().await, Got::End);
        assert_eq!(served.await.unwrap(), End::Closed(Close::NotMesh(kind)));
    }
    let (mut a, served) = pipe(&relay, 1).await;
    a.io.write_all(&[kind::SEND_PACKET, 0, 1, 0, 33]).await.unwrap();
    assert_eq!(a.got().await, Got::End);
    assert!(matches!(served.await.unwrap(), End::Closed(Close::Malformed(_))));
    assert_eq!(relay.stats().violated, 4);
    assert_eq!(relay.stats().core.connections, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_reader_is_disconnected_after_its_timeout_and_a_slow_one_is_not() {
    let relay = open_relay();
    let (mut a, _) = pipe(&relay, 1).await;
    let (stalled, served) = pipe(&relay, 2).await;
    let (mut slow, _served) = pipe(&relay, 3).await;
    let before = Instant::now();
    for _ in 0..20 {
        a.packet(stalled.key, &[1; 60_000]).await;
        a.packet(slow.key, &[1; 60_000]).await;
    }
    let reading = tokio::spawn(async move {
        let mut every_two_seconds = tokio::time::interval(Duration::from_secs(2));
        every_two_seconds.tick().await;
        for _ in 0..10 {
            every_two_seconds.tick().await;
            assert!(matches!(slow.got().await, Got::Packet(..)));
        }
    });
    assert_eq!(served.await.unwrap(), End::Stalled);
    assert_eq!(before.elapsed().as_secs(), 3);
    reading.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dropped_task_leaves_the_relay() {
    let relay = open_relay();
    let (mut a, _) = pipe(&relay, 1).await;
    let (mut b, served) = pipe(&relay, 2).await;
    b.packet(a.key, b"hello").await;
    assert_eq!(a.got().await, Got::Packet(key(2), b"hello".to_vec()));
    served.abort();
    assert_eq!(a.got().await, Got::Gone(key(2), GoneReason::Disconnected));
    assert_eq!(relay.stats().core.connections, 1);
}
