//! Any datagram to the STUN port. A client's request is read, whatever its number; what is answered can be read by it.
#![no_main]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use headsail_derp::stun::{parse_request, parse_response, request, response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    let _ = parse_request(packet);
    let _ = parse_response(packet);
    let Some(tx) = packet.first_chunk::<12>() else { return };
    assert_eq!(parse_request(&request(tx)), Some(*tx));
    for sender in [SocketAddr::from((Ipv4Addr::LOCALHOST, 3478)), (Ipv6Addr::LOCALHOST, 1).into()] {
        assert_eq!(parse_response(response(tx, sender).bytes()), Some((*tx, sender)));
    }
});
