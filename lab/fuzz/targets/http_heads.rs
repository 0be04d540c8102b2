//! Any first bytes of a connection and any head of a request: what they are is decided once, whatever the packets in which
//! they arrive.
#![no_main]

use headsail_server::listen::classify::{Accepts, Connection, connection, upgrade};
use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

/// Longer heads are not read as a whole before they are classified.
const MAX_INPUT: usize = 8000;

fuzz_target!(|input: &[u8]| {
    let input = &input[..input.len().min(MAX_INPUT)];
    for (tls, derp) in [(false, false), (false, true), (true, false), (true, true)] {
        let accepts = Accepts { tls, derp };
        let whole = connection(input, accepts);
        if let Some(Connection::DerpFastStart { head }) = whole {
            assert!(head <= input.len() && derp, "a head that has not arrived");
        }
        assert!(tls || whole != Some(Connection::Tls), "TLS on a listener without it");
        // Eight places to cut are enough: which they are changes with the input.
        for part in (0..input.len()).step_by(input.len() / 8 + 1) {
            let early = connection(&input[..part], accepts);
            assert!(early.is_none() || early == whole, "{early:?} after {part} bytes, then {whole:?}");
        }
    }
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    if let Ok(httparse::Status::Complete(_)) = request.parse(input)
        && let Some(Ok(method)) = request.method.map(|m| Method::from_bytes(m.as_bytes()))
    {
        let pairs = request.headers.iter().filter_map(|h| {
            Some((h.name.parse::<HeaderName>().ok()?, HeaderValue::from_bytes(h.value).ok()?))
        });
        let _ = upgrade(&method, request.path.unwrap_or_default(), &pairs.collect::<HeaderMap>());
    }
});
