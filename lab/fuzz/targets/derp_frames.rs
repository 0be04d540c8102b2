//! Any bytes from two clients of a relay, cut anywhere: what the relay writes is whole frames, and when everybody has
//! left, nothing is left.
#![no_main]

use headsail_derp::relay::Next;
use headsail_derp::{ClientInfo, ConnId, Frame, Relay};
use headsail_wire::keys::NodeKey;
use headsail_wire::time::Time;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

/// What one of the two clients does, or what happens to it.
#[derive(Arbitrary, Debug)]
enum Act<'a> {
    /// Bytes arrive from it.
    Bytes(&'a [u8]),
    /// A well-formed packet arrives from it, for the client of this number.
    Packet(u8, &'a [u8]),
    /// Its writer takes what there is.
    Write,
    /// Its connection ends and it comes back.
    Return,
    /// Its node is thrown out.
    Refuse,
    /// So many seconds pass.
    Wait(u8),
}

/// One connection and what has arrived of an incomplete frame.
struct Client {
    key: NodeKey,
    conn: ConnId,
    input: Vec<u8>,
}

fuzz_target!(|acts: Vec<(bool, Act<'_>)>| {
    let mut relay = Relay::new();
    let mut now = Time::EPOCH;
    let woken = &mut Vec::new();
    let mut clients = [1, 2].map(|n| {
        let key = NodeKey::from_bytes([n; 32]);
        Client { key, conn: relay.join(key, ClientInfo::default(), now, 0, woken), input: Vec::new() }
    });
    for (which, act) in acts {
        let client = &mut clients[usize::from(which)];
        let stays = match act {
            Act::Bytes(bytes) => receive(&mut relay, client, bytes, now, woken),
            Act::Packet(to, packet) => {
                let frame = Frame::SendPacket(NodeKey::from_bytes([to; 32]), packet).to_vec();
                receive(&mut relay, client, &frame, now, woken)
            }
            Act::Write => write(&mut relay, client.conn),
            Act::Return => false,
            Act::Refuse => {
                relay.refuse(&client.key, woken);
                true
            }
            Act::Wait(secs) => {
                now = now.plus_secs(i64::from(secs));
                relay.tick(client.conn, now, woken);
                true
            }
        };
        if !stays {
            relay.leave(client.conn, woken);
            client.conn = relay.join(client.key, ClientInfo::default(), now, 0, woken);
            client.input.clear();
        }
    }
    for client in &clients {
        relay.leave(client.conn, woken);
    }
    let stats = relay.stats();
    assert_eq!((stats.connections, stats.homes, stats.duplicated, stats.queued_bytes), (0, 0, 0, 0));
});

/// Hands in what has arrived, as the caller of [`Relay::receive`] must. False if the connection is to be closed.
fn receive(relay: &mut Relay, client: &mut Client, bytes: &[u8], now: Time, woken: &mut Vec<ConnId>) -> bool {
    client.input.extend_from_slice(bytes);
    let done = relay.receive(client.conn, &client.input, now, woken);
    done.is_ok_and(|n| client.input.drain(..n).len() == n)
}

/// Takes what is to be written, and reads it as a client would. False if the connection is to be closed.
fn write(relay: &mut Relay, conn: ConnId) -> bool {
    let mut written = None;
    loop {
        let mut chunk = match relay.take(conn, written.take()) {
            Next::Write(chunk) => chunk,
            Next::Idle => return true,
            Next::Close(_) => return false,
        };
        while !chunk.bytes().is_empty() {
            let (_, len) = Frame::decode(chunk.bytes()).expect("well-formed").expect("whole");
            chunk.advance(len);
        }
        written = Some(chunk);
    }
}
