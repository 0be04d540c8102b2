//! STUN against messages encoded by the Go client, the sample in the RFC, and invalid input.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use headsail_derp::stun::{TxId, parse_request, parse_response, request, response};
use proptest::prelude::*;

const TX: TxId = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn messages_are_identical_to_those_of_the_go_client() {
    let go = unhex("000100142112a4420102030405060708090a0b0c802200087461696c6e6f646580280004b32c370f");
    assert_eq!(request(&TX), go);
    assert_eq!(parse_request(&go), Some(TX));

    let v4: SocketAddr = "192.0.2.7:51820".parse().unwrap();
    let go = unhex("0101000c2112a4420102030405060708090a0b0c002000080001eb7ee112a645");
    assert_eq!(response(&TX, v4).bytes(), go);
    assert_eq!(parse_response(&go), Some((TX, v4)));

    let v6: SocketAddr = "[2001:db8::7]:41641".parse().unwrap();
    let go =
        unhex("010100182112a4420102030405060708090a0b0c00200014000283bb0113a9fa0102030405060708090a0b0b");
    assert_eq!(response(&TX, v6).bytes(), go);
    assert_eq!(parse_response(&go), Some((TX, v6)));
}

/// RFC 5769 section 2.2.
#[test]
fn the_sample_response_of_the_rfc_is_parsed() {
    let sample = unhex(concat!(
        "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f722000200008",
        "0001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96",
    ));
    let (tx, addr) = parse_response(&sample).unwrap();
    assert_eq!(tx[..4], [0xb7, 0xe7, 0xa7, 0x01]);
    assert_eq!(addr, "192.0.2.1:32853".parse().unwrap());
}

#[test]
fn an_ipv4_mapped_address_is_reported_as_ipv4() {
    let mapped: SocketAddr = "[::ffff:192.0.2.7]:51820".parse().unwrap();
    let plain: SocketAddr = "192.0.2.7:51820".parse().unwrap();
    assert_eq!(response(&TX, mapped).bytes(), response(&TX, plain).bytes());
}

#[test]
fn anything_but_a_complete_request_of_a_client_is_ignored() {
    let good = request(&TX);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert_eq!(parse_request(&bad), None, "a change to byte {at} goes unnoticed");
    }
    for len in 0..good.len() {
        assert_eq!(parse_request(&good[..len]), None);
    }
    assert_eq!(parse_request(&[&good[..], &[0; 4]].concat()), None);
    // Without SOFTWARE, without FINGERPRINT, with FINGERPRINT before SOFTWARE, and finally in the right order. All
    // fingerprints are correct.
    let header = |len: u8| [&[0, 1, 0, len, 0x21, 0x12, 0xa4, 0x42][..], &TX].concat();
    let software = &good[20..32];
    let print = |before: &[u8]| [&[0x80, 0x28, 0, 4][..], &fingerprint(before).to_be_bytes()].concat();
    let none = [header(8), print(&header(8))].concat();
    let unsigned = [&header(12), software].concat();
    let early = [&header(20)[..], &print(&header(20)), software].concat();
    for packet in [header(0), none, unsigned, early] {
        assert_eq!(parse_request(&packet), None);
    }
    let signed = [&header(20), software].concat();
    assert_eq!(parse_request(&[&signed[..], &print(&signed)].concat()), Some(TX));
}

/// The fingerprint of RFC 5389 section 15.5, computed bit by bit.
fn fingerprint(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc ^ 0x5354_554e
}

proptest! {
    #[test]
    fn a_response_reports_the_address_of_the_sender(ip in any::<u128>(), v4 in any::<Option<u32>>(), port: u16, tx: TxId) {
        let ip = v4.map_or(IpAddr::V6(Ipv6Addr::from(ip)), |v4| IpAddr::V4(v4.into()));
        let parsed = parse_response(response(&tx, SocketAddr::new(ip, port)).bytes());
        prop_assert_eq!(parsed, Some((tx, SocketAddr::new(ip.to_canonical(), port))));
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert_eq!(parse_request(&bytes), None);
        parse_response(&bytes);
        let mut likely = request(&TX);
        likely.extend_from_slice(&bytes);
        parse_request(&likely);
        let mut likely = response(&TX, "[::1]:1".parse().unwrap()).bytes()[..20].to_vec();
        likely.extend_from_slice(&bytes);
        parse_response(&likely);
    }
}
