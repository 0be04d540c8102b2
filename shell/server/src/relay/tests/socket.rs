//! Packets over real sockets.

use super::*;

#[tokio::test]
async fn packets_pass_both_ways_unchanged_and_in_order() {
    let relay = open_relay();
    let addr = listen(&relay).await;
    let (mut a, mut b) = (connect(addr, 1).await, connect(addr, 2).await);
    for n in 0..100u8 {
        a.packet(b.key, &[n; 1400]).await;
    }
    for n in 0..100u8 {
        assert_eq!(b.got().await, Got::Packet(a.key, vec![n; 1400]));
    }
    let large = vec![9; 65536];
    b.packet(a.key, &large).await;
    assert_eq!(a.got().await, Got::Packet(b.key, large));
    a.packet(a.key, b"myself").await;
    assert_eq!(a.got().await, Got::Packet(a.key, b"myself".to_vec()));
    let stats = relay.stats();
    assert_eq!((stats.core.connections, stats.core.packets), (2, 102));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_pairs_lose_nothing_within_the_queue_limits() {
    let relay = open_relay();
    let addr = listen(&relay).await;
    let mut tasks = Vec::new();
    for pair in 0..10u8 {
        tasks.push(tokio::spawn(async move {
            let mut a = connect(addr, 2 * pair + 1).await;
            let mut b = connect(addr, 2 * pair + 2).await;
            for round in 0..20u32 {
                let mut bytes = Vec::new();
                for n in 0..200u32 {
                    let packet = [round.to_be_bytes(), n.to_be_bytes()].concat().repeat(20);
                    Frame::SendPacket(b.key, &packet).write(&mut bytes);
                }
                a.io.write_all(&bytes).await.unwrap();
                for n in 0..200u32 {
                    let packet = [round.to_be_bytes(), n.to_be_bytes()].concat().repeat(20);
                    assert_eq!(b.got().await, Got::Packet(a.key, packet));
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(relay.stats().core.packets, 10 * 20 * 200);
    assert_eq!(relay.stats().core.dropped_full, 0);
}

#[tokio::test]
async fn frames_may_arrive_in_any_pieces() {
    let relay = open_relay();
    let addr = listen(&relay).await;
    let (mut a, mut b) = (connect(addr, 1).await, connect(addr, 2).await);
    a.io.set_nodelay(true).unwrap();
    let mut bytes = Vec::new();
    Frame::Unknown(0x55, b"skip me").write(&mut bytes);
    Frame::SendPacket(b.key, b"first").write(&mut bytes);
    Frame::SendPacket(b.key, b"second").write(&mut bytes);
    for byte in bytes {
        a.io.write_all(&[byte]).await.unwrap();
    }
    assert_eq!(b.got().await, Got::Packet(a.key, b"first".to_vec()));
    assert_eq!(b.got().await, Got::Packet(a.key, b"second".to_vec()));
}

#[tokio::test]
async fn a_stalled_reader_is_disconnected_and_does_not_affect_others() {
    let relay = open_relay();
    let addr = listen(&relay).await;
    let (mut a, mut b, slow) = (connect(addr, 1).await, connect(addr, 2).await, connect(addr, 3).await);
    let packet = vec![0; 8192];
    for n in 0..2000u32 {
        a.packet(slow.key, &packet).await;
        if n % 20 == 0 {
            a.packet(b.key, &n.to_be_bytes()).await;
            assert_eq!(b.got().await, Got::Packet(a.key, n.to_be_bytes().to_vec()));
            assert!(relay.stats().core.queued_bytes <= headsail_derp::limits::MAX_DATA_BYTES);
        }
    }
    // It keeps its socket open and never reads; the relay leaves it after a while.
    let until = tokio::time::Instant::now() + Duration::from_secs(30);
    while relay.stats().stalled == 0 {
        assert!(tokio::time::Instant::now() < until, "a stalled reader stays");
        assert_eq!(a.settle().await, []);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(relay.stats().core.connections, 2);
    assert_eq!(relay.stats().core.queued_bytes, 0);
    drop(slow);
}

#[tokio::test]
async fn half_open_connections_do_not_affect_others() {
    let relay = open_relay();
    let addr = listen(&relay).await;
    let mut idle = Vec::new();
    for n in 0..300u32 {
        let mut io = TcpStream::connect(addr).await.unwrap();
        match n % 3 {
            0 => {}
            1 => io.write_all(&[2, 0, 0, 1]).await.unwrap(),
            _ => io.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap(),
        }
        idle.push(io);
    }
    let (mut a, mut b) = (connect(addr, 1).await, connect(addr, 2).await);
    a.packet(b.key, b"through").await;
    assert_eq!(b.got().await, Got::Packet(a.key, b"through".to_vec()));
    assert_eq!(relay.stats().core.connections, 2);
    let until = tokio::time::Instant::now() + Duration::from_secs(10);
    while relay.stats().handshake_failed < 100 {
        assert!(tokio::time::Instant::now() < until, "garbage is not closed");
        assert_eq!(a.settle().await, []);
    }
}
