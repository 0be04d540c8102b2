//! Any datagram to the STUN port. Answered is only what a client could have sent, and the answer can be read.
#![no_main]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use headsail_derp::stun::{parse_request, parse_response, response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    let _ = parse_response(packet);
    let Some(tx) = parse_request(packet) else { return };
    for sender in [SocketAddr::from((Ipv4Addr::LOCALHOST, 3478)), (Ipv6Addr::LOCALHOST, 1).into()] {
        assert_eq!(parse_response(response(&tx, sender).bytes()), Some((tx, sender)));
    }
});
