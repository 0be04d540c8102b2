//! Any body of the two requests that every client makes, read as the server reads it.
#![no_main]

use headsail_wire::json::decode;
use headsail_wire::map::MapRequest;
use headsail_wire::register::RegisterRequest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let _ = decode::<MapRequest>(body);
    let _ = decode::<RegisterRequest>(body);
});
