//! Any bytes in place of each message of a control connection: refused, without a panic. What was really said arrives,
//! however it is cut, and one changed bit is noticed.
#![no_main]

use headsail_noise::handshake::answer_len;
use headsail_noise::{Initiator, Responder, Transport, early};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

const VERSION: u16 = 113;

/// What a stranger sends, and what a real client says.
#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// In place of any message.
    stranger: &'a [u8],
    /// The content of real records.
    said: Vec<&'a [u8]>,
    /// Bytes that arrive at a time.
    piece: u8,
    /// The bit of the real records that is changed on the way, if it exists.
    changed: u16,
}

fuzz_target!(|input: Input<'_>| {
    let server = Responder::new(&[1; 32]).expect("a key");
    let _ = server.read_initiation(input.stranger);
    let _ = answer_len(input.stranger);
    let _ = early::decode(input.stranger);
    let (initiator, _) = client(&server);
    assert!(initiator.read_response(input.stranger).is_err(), "a stranger passes for the server");

    let (mut ours, mut theirs) = connection(&server);
    let mut bytes = input.stranger.to_vec();
    let mut heard = Vec::new();
    let _ = ours.opener.drain(&mut bytes, &mut heard);
    assert!(heard.is_empty(), "a stranger is heard");

    let mut sent = Vec::new();
    for said in &input.said {
        ours.sealer.seal(said, &mut sent).expect("few records");
    }
    let at = usize::from(input.changed);
    let changed = sent.get_mut(at / 8).map(|byte| *byte ^= 1 << (at % 8)).is_some();
    let mut waiting = Vec::new();
    let mut fine = true;
    for piece in sent.chunks(usize::from(input.piece) + 1) {
        waiting.extend_from_slice(piece);
        fine &= theirs.opener.drain(&mut waiting, &mut heard).is_ok();
    }
    let said = input.said.concat();
    let all = fine && waiting.is_empty() && heard.len() == said.len();
    assert!(said.starts_with(&heard), "something else is heard");
    assert_eq!(all, !changed, "a changed bit is not noticed, or an unchanged record is");
});

/// A client that has said its first words, and those.
fn client(server: &Responder) -> (Initiator, Vec<u8>) {
    let made = Initiator::new(server.public_key(), &[2; 32], &[3; 32], VERSION);
    let (initiator, first) = made.expect("good keys");
    (initiator, first.to_vec())
}

/// The server's and the client's end of a connection.
fn connection(server: &Responder) -> (Transport, Transport) {
    let (initiator, first) = client(server);
    let handshake = server.read_initiation(&first).expect("a real client");
    let (second, ours) = handshake.write_response(&[4; 32]).expect("good keys");
    (ours, initiator.read_response(&second).expect("the real server"))
}
