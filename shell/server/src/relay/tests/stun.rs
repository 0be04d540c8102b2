//! STUN over real sockets.

use std::sync::atomic::Ordering;

use headsail_derp::stun::{TxId, parse_response, request};
use tokio::net::UdpSocket;

use super::super::stun::{Counts, bind, serve};
use super::*;

fn start(addr: &str) -> (Vec<SocketAddr>, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    let sockets = bind(addr.parse().unwrap()).unwrap();
    let addrs = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
    for socket in sockets {
        tokio::spawn(serve(socket, Arc::clone(&counts)));
    }
    (addrs, counts)
}

async fn answer(socket: &UdpSocket) -> (TxId, SocketAddr) {
    let mut buf = [0; 200];
    let received = tokio::time::timeout(Duration::from_secs(10), socket.recv(&mut buf));
    let len = received.await.expect("an answer in time").unwrap();
    parse_response(&buf[..len]).expect("a right answer")
}

#[tokio::test]
async fn a_request_is_answered_with_the_address_of_its_sender() {
    for host in ["127.0.0.1:0", "[::1]:0"] {
        let (addrs, _) = start(host);
        let Ok(socket) = UdpSocket::bind(host).await else {
            println!("skipped: this machine has no `{host}`");
            continue;
        };
        socket.send_to(&request(&[5; 12]), addrs[0]).await.unwrap();
        assert_eq!(answer(&socket).await, ([5; 12], socket.local_addr().unwrap()));
    }
}

#[tokio::test]
async fn an_unspecified_address_serves_both_families_on_one_port() {
    let (addrs, _) = start("0.0.0.0:0");
    let port = addrs[0].port();
    assert!(addrs.iter().all(|addr| addr.port() == port));
    for (host, server) in addrs.iter().zip(["127.0.0.1", "::1"]) {
        let server = SocketAddr::new(server.parse().unwrap(), port);
        assert_eq!(host.is_ipv4(), server.is_ipv4());
        let socket = UdpSocket::bind(SocketAddr::new(server.ip(), 0)).await.unwrap();
        socket.send_to(&request(&[6; 12]), server).await.unwrap();
        assert_eq!(answer(&socket).await, ([6; 12], socket.local_addr().unwrap()));
    }
}

#[tokio::test]
async fn anything_but_a_request_is_ignored() {
    let (addrs, counts) = start("127.0.0.1:0");
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let good = request(&[7; 12]);
    let mut bad_print = good.clone();
    bad_print[39] ^= 1;
    let mut foreign = good.clone();
    foreign[24] = b'T';
    let bad = [&b""[..], b"hello", &good[..39], &good[..20], &bad_print, &foreign, &[0; 1500]];
    for packet in bad {
        socket.send_to(packet, addrs[0]).await.unwrap();
    }
    socket.send_to(&good, addrs[0]).await.unwrap();
    // Datagrams of one socket pair keep their order on loopback: the first answer is the good one's.
    assert_eq!(answer(&socket).await.0, [7; 12]);
    assert_eq!(counts.ignored.load(Ordering::Relaxed), bad.len() as u64);
    assert_eq!(counts.answered.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_thousand_requests_from_fifty_sockets_are_all_answered() {
    let (addrs, counts) = start("127.0.0.1:0");
    let mut tasks = Vec::new();
    for n in 0..50u8 {
        let server = addrs[0];
        tasks.push(tokio::spawn(async move {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            for m in 0..20u8 {
                socket.send_to(&request(&[n ^ m; 12]), server).await.unwrap();
            }
            for m in 0..20u8 {
                assert_eq!(answer(&socket).await, ([n ^ m; 12], socket.local_addr().unwrap()));
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(counts.answered.load(Ordering::Relaxed), 1000);
}
