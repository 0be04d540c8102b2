//! Client and server against each other and against `snow`, an independent implementation of Noise.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use headsail_noise::handshake::{answer_len, refusal};
use headsail_noise::{
    Error, INITIATION_LEN, Initiator, MAX_PLAINTEXT, MAX_RECORD, RESPONSE_LEN, Responder, Transport,
    public_key,
};

const SERVER: [u8; 32] = [0x11; 32];
const MACHINE: [u8; 32] = [0x22; 32];
const CLIENT_EPHEMERAL: [u8; 32] = [0x33; 32];
const SERVER_EPHEMERAL: [u8; 32] = [0x44; 32];
const VERSION: u16 = 113;

fn snow_builder(version: u16) -> snow::Builder<'static> {
    let prologue = format!("Tailscale Control Protocol v{version}").leak();
    snow::Builder::new("Noise_IK_25519_ChaChaPoly_BLAKE2s".parse().unwrap())
        .prologue(prologue.as_bytes())
        .unwrap()
}

fn pair() -> (Transport, Transport) {
    let responder = Responder::new(&SERVER).unwrap();
    let (initiator, first) =
        Initiator::new(responder.public_key(), &MACHINE, &CLIENT_EPHEMERAL, VERSION).unwrap();
    let (second, server) =
        responder.read_initiation(&first).unwrap().write_response(&SERVER_EPHEMERAL).unwrap();
    (initiator.read_response(&second).unwrap(), server)
}

/// A record built from the description of the format, with a key that snow derived.
fn record(key: &[u8; 32], counter: u64, plaintext: &[u8]) -> Vec<u8> {
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).unwrap());
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    let mut body = plaintext.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut body).unwrap();
    let mut record = vec![4];
    record.extend_from_slice(&(body.len() as u16).to_be_bytes());
    record.extend_from_slice(&body);
    record
}

fn check_records(transport: &mut Transport, sends_with: &[u8; 32], receives_with: &[u8; 32]) {
    for counter in 0..300u64 {
        let text = format!("record {counter}");
        let mut sealed = Vec::new();
        transport.sealer.seal(text.as_bytes(), &mut sealed).unwrap();
        assert_eq!(sealed, record(sends_with, counter, text.as_bytes()));

        let mut incoming = record(receives_with, counter, text.as_bytes());
        let opened = transport.opener.open(&mut incoming).unwrap().unwrap();
        assert_eq!(opened.len, incoming.len());
        assert_eq!(&incoming[opened.plaintext], text.as_bytes());
    }
}

#[test]
fn a_snow_client_connects_to_our_server() {
    let responder = Responder::new(&SERVER).unwrap();
    let mut snow = snow_builder(VERSION)
        .local_private_key(&MACHINE)
        .unwrap()
        .remote_public_key(responder.public_key())
        .unwrap()
        .fixed_ephemeral_key_for_testing_only(&CLIENT_EPHEMERAL)
        .build_initiator()
        .unwrap();
    let mut message = vec![0; 96];
    assert_eq!(snow.write_message(&[], &mut message).unwrap(), 96);
    let mut first = vec![0, 113, 1, 0, 96];
    first.extend_from_slice(&message);
    assert_eq!(first.len(), INITIATION_LEN);

    // Given the same secrets, our client must send exactly the same bytes.
    let (_, ours) = Initiator::new(responder.public_key(), &MACHINE, &CLIENT_EPHEMERAL, VERSION).unwrap();
    assert_eq!(first, ours);

    let handshake = responder.read_initiation(&first).unwrap();
    assert_eq!(handshake.machine_key(), &public_key(&MACHINE).unwrap());
    let (second, mut server) = handshake.write_response(&SERVER_EPHEMERAL).unwrap();
    assert_eq!(second[..3], [2, 0, 48]);
    assert_eq!(snow.read_message(&second[3..], &mut []).unwrap(), 0);
    let (from_client, to_client) = snow.dangerously_get_raw_split();
    check_records(&mut server, &to_client, &from_client);
}

#[test]
fn our_client_connects_to_a_snow_server() {
    let server_public = public_key(&SERVER).unwrap();
    let (initiator, first) = Initiator::new(&server_public, &MACHINE, &CLIENT_EPHEMERAL, VERSION).unwrap();
    let mut snow = snow_builder(VERSION).local_private_key(&SERVER).unwrap().build_responder().unwrap();
    assert_eq!(snow.read_message(&first[5..], &mut []).unwrap(), 0);
    assert_eq!(snow.get_remote_static().unwrap(), public_key(&MACHINE).unwrap());
    let mut message = vec![0; 48];
    assert_eq!(snow.write_message(&[], &mut message).unwrap(), 48);
    let mut second = vec![2, 0, 48];
    second.extend_from_slice(&message);
    let mut client = initiator.read_response(&second).unwrap();
    let (to_server, from_server) = snow.dangerously_get_raw_split();
    check_records(&mut client, &to_server, &from_server);
}

#[test]
fn a_handshake_message_with_a_changed_byte_or_length_is_rejected() {
    let responder = Responder::new(&SERVER).unwrap();
    let (_, first) = Initiator::new(responder.public_key(), &MACHINE, &CLIENT_EPHEMERAL, VERSION).unwrap();
    for at in 0..first.len() {
        let mut bad = first;
        bad[at] ^= 0x40;
        assert!(
            responder.read_initiation(&bad).is_err(),
            "a change to byte {at} of the initiation goes unnoticed"
        );
    }
    for len in 0..first.len() {
        assert!(responder.read_initiation(&first[..len]).is_err());
    }
    assert!(responder.read_initiation(&[&first[..], &[0]].concat()).is_err());

    for at in 0..RESPONSE_LEN {
        let (initiator, first) =
            Initiator::new(responder.public_key(), &MACHINE, &CLIENT_EPHEMERAL, VERSION).unwrap();
        let handshake = responder.read_initiation(&first).unwrap();
        let (mut second, _) = handshake.write_response(&SERVER_EPHEMERAL).unwrap();
        second[at] ^= 0x40;
        assert!(
            initiator.read_response(&second).is_err(),
            "a change to byte {at} of the response goes unnoticed"
        );
    }
}

#[test]
fn an_initiation_for_another_server_is_rejected() {
    let other = public_key(&[0x55; 32]).unwrap();
    let (_, first) = Initiator::new(&other, &MACHINE, &CLIENT_EPHEMERAL, VERSION).unwrap();
    let responder = Responder::new(&SERVER).unwrap();
    assert_eq!(responder.read_initiation(&first).err(), Some(Error::Forged));
}

#[test]
fn low_order_keys_are_rejected() {
    let responder = Responder::new(&SERVER).unwrap();
    let (_, mut first) =
        Initiator::new(responder.public_key(), &MACHINE, &CLIENT_EPHEMERAL, VERSION).unwrap();
    first[5..37].fill(0);
    assert_eq!(responder.read_initiation(&first).err(), Some(Error::Forged));
    assert_eq!(Initiator::new(&[0; 32], &MACHINE, &CLIENT_EPHEMERAL, VERSION).err(), Some(Error::Forged));
}

#[test]
fn the_text_of_a_refusal_reaches_the_client() {
    let (initiator, _) =
        Initiator::new(&public_key(&SERVER).unwrap(), &MACHINE, &CLIENT_EPHEMERAL, VERSION).unwrap();
    let message = refusal("go away");
    assert_eq!(answer_len(&message), Some(message.len()));
    assert_eq!(answer_len(&message[..2]), None);
    assert_eq!(initiator.read_response(&message).err(), Some(Error::Refused("go away".into())));
}

#[test]
fn plaintext_is_split_into_records_only_when_one_is_full() {
    let (mut client, mut server) = pair();
    let mut wire = Vec::new();
    client.sealer.seal(&vec![7; MAX_PLAINTEXT], &mut wire).unwrap();
    assert_eq!(wire.len(), MAX_RECORD);
    client.sealer.seal(&vec![8; MAX_PLAINTEXT + 1], &mut wire).unwrap();
    assert_eq!(wire.len(), 2 * MAX_RECORD + 3 + 16 + 1);
    client.sealer.seal(&[], &mut wire).unwrap();
    assert_eq!(wire.len(), 2 * MAX_RECORD + 3 + 16 + 1);
    let mut plain = Vec::new();
    server.opener.drain(&mut wire, &mut plain).unwrap();
    assert!(wire.is_empty());
    assert_eq!(plain.len(), 2 * MAX_PLAINTEXT + 1);
}

#[test]
fn a_tampered_record_ends_the_connection() {
    let mut template = Vec::new();
    pair().0.sealer.seal(b"hello", &mut template).unwrap();
    for at in 0..template.len() {
        let (_, mut server) = pair();
        let mut bad = template.clone();
        bad[at] ^= 0x02;
        match server.opener.open(&mut bad) {
            Err(_) => assert_eq!(server.opener.open(&mut template.clone()), Err(Error::Closed)),
            Ok(None) => {
                assert!(at == 1 || at == 2, "only a changed length may call for more bytes");
                bad.resize(MAX_RECORD, 0);
                assert_eq!(server.opener.open(&mut bad), Err(Error::Forged));
            }
            Ok(Some(_)) => panic!("a change to byte {at} of a record goes unnoticed"),
        }
    }
}

#[test]
fn replayed_and_reordered_records_are_rejected() {
    let (mut client, mut server) = pair();
    let (mut one, mut two) = (Vec::new(), Vec::new());
    client.sealer.seal(b"one", &mut one).unwrap();
    client.sealer.seal(b"two", &mut two).unwrap();
    server.opener.open(&mut one.clone()).unwrap();
    assert_eq!(server.opener.open(&mut one), Err(Error::Forged));
    let (_, mut server) = pair();
    assert_eq!(server.opener.open(&mut two), Err(Error::Forged));
}

#[test]
fn invalid_headers_are_rejected_before_the_body_arrives() {
    for (header, error) in [
        (&[5][..], Error::Kind(5)),
        (&[4, 0x0f, 0xfe], Error::Length),
        (&[4, 0, 15], Error::Length),
        (&[4, 0, 0], Error::Length),
    ] {
        let (_, mut server) = pair();
        assert_eq!(server.opener.open(&mut header.to_vec()), Err(error));
    }
    let (_, mut server) = pair();
    assert_eq!(server.opener.open(&mut [4, 0x0f, 0xfd]), Ok(None));
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn fragmentation_does_not_change_the_stream(
            writes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9000), 0..6),
            cuts in prop::collection::vec(1usize..5000, 1..40),
        ) {
            let (mut client, mut server) = pair();
            let mut wire = Vec::new();
            for write in &writes {
                client.sealer.seal(write, &mut wire).unwrap();
            }
            let (mut held, mut plain) = (Vec::new(), Vec::new());
            let mut rest = &wire[..];
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                rest = later;
                held.extend_from_slice(now);
                server.opener.drain(&mut held, &mut plain).unwrap();
                prop_assert!(held.len() < MAX_RECORD);
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert!(held.is_empty());
            prop_assert_eq!(plain, writes.concat());
        }

        #[test]
        fn random_bytes_neither_panic_nor_authenticate(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let responder = Responder::new(&SERVER).unwrap();
            prop_assert!(responder.read_initiation(&bytes).is_err());
            let (initiator, _) =
                Initiator::new(responder.public_key(), &MACHINE, &CLIENT_EPHEMERAL, VERSION).unwrap();
            prop_assert!(initiator.read_response(&bytes).is_err());
            headsail_noise::early::decode(&bytes);
            let (_, mut server) = pair();
            prop_assert!(!matches!(server.opener.open(&mut bytes), Ok(Some(_))));
        }
    }
}
