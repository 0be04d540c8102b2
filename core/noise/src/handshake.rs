//! The two handshake messages, from either side.
//!
//! Pattern IK: the client knows the server's static key and proves its own in the first message, so a connection is
//! ready after one round trip. Mirrors `control/controlbase/{messages,handshake}.go`.

use aws_lc_rs::agreement::PrivateKey;

use crate::symmetric::{Symmetric, TAG_LEN, private_key, public_half};
use crate::{Error, Transport};

/// Bytes of the client's message: version, type, length, ephemeral key, sealed machine key, tag.
pub const INITIATION_LEN: usize = 2 + HEADER_LEN + 32 + 48 + TAG_LEN;
/// Bytes of the server's answer: type, length, ephemeral key, tag.
pub const RESPONSE_LEN: usize = HEADER_LEN + 32 + TAG_LEN;
/// Bytes of type and length in front of every message but the initiation, which has the version before them.
pub const HEADER_LEN: usize = 3;

const INITIATION: u8 = 1;
const RESPONSE: u8 = 2;
const REFUSAL: u8 = 3;

/// The server's side: holds its static key and answers any number of clients.
pub struct Responder {
    secret: PrivateKey,
    public: [u8; 32],
}

/// A client whose first message checked out, and who waits for the answer.
pub struct Handshake {
    machine_key: [u8; 32],
    client_ephemeral: [u8; 32],
    state: Symmetric,
}

/// The client's side between its message and the server's answer.
pub struct Initiator {
    machine: PrivateKey,
    ephemeral: PrivateKey,
    state: Symmetric,
}

/// The public half of an X25519 secret. Fails only where the library does.
pub fn public_key(secret: &[u8; 32]) -> Result<[u8; 32], Error> {
    public_half(&private_key(secret)?)
}

/// The error message a server may send instead of its answer; a text beyond 64 KiB is cut.
pub fn refusal(text: &str) -> Vec<u8> {
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
    let mut message = header(REFUSAL, len).to_vec();
    message.extend_from_slice(text.as_bytes().get(..usize::from(len)).unwrap_or_default());
    message
}

/// Length of the whole message that begins with `start`, a server's answer or refusal; None until its header is there.
pub fn answer_len(start: &[u8]) -> Option<usize> {
    let (header, _) = start.split_first_chunk::<HEADER_LEN>()?;
    Some(HEADER_LEN + usize::from(u16::from_be_bytes([header[1], header[2]])))
}

impl Responder {
    /// From the server's X25519 secret.
    pub fn new(static_private: &[u8; 32]) -> Result<Responder, Error> {
        let secret = private_key(static_private)?;
        let public = public_half(&secret)?;
        Ok(Responder { secret, public })
    }

    /// The server's public key, as clients must know it.
    pub fn public_key(&self) -> &[u8; 32] {
        &self.public
    }

    /// Checks a client's message. It may be a replay: only the first record that opens proves a live client.
    ///
    /// Errors: [`Error::Length`] and [`Error::Kind`] for what is no initiation, [`Error::Forged`] for one that was
    /// made for another server or tampered with.
    pub fn read_initiation(&self, message: &[u8]) -> Result<Handshake, Error> {
        let (version, message) = message.split_first_chunk::<2>().ok_or(Error::Length)?;
        let body = body(message, INITIATION, INITIATION_LEN - 2)?;
        let (ephemeral, body) = body.split_first_chunk::<32>().ok_or(Error::Length)?;
        let (machine, tag) = body.split_first_chunk::<48>().ok_or(Error::Length)?;

        let mut state = Symmetric::new(u16::from_be_bytes(*version), &self.public);
        state.mix_hash(ephemeral);
        let key = state.mix_dh(&self.secret, ephemeral)?;
        let machine_key = state.open::<32>(&key, machine)?;
        let key = state.mix_dh(&self.secret, &machine_key)?;
        state.open::<0>(&key, tag)?;
        Ok(Handshake { machine_key, client_ephemeral: *ephemeral, state })
    }
}

impl Handshake {
    /// The client's machine key, proven by its message.
    pub fn machine_key(&self) -> &[u8; 32] {
        &self.machine_key
    }

    /// Makes the answer and the keys of the connection. The secret is fresh randomness for this connection alone.
    pub fn write_response(
        mut self,
        ephemeral_secret: &[u8; 32],
    ) -> Result<([u8; RESPONSE_LEN], Transport), Error> {
        let ephemeral = private_key(ephemeral_secret)?;
        let public = public_half(&ephemeral)?;
        self.state.mix_hash(&public);
        self.state.mix_dh(&ephemeral, &self.client_ephemeral)?;
        let key = self.state.mix_dh(&ephemeral, &self.machine_key)?;
        let tag = self.state.seal(&key, &[])?;

        let mut message = header(RESPONSE, (RESPONSE_LEN - HEADER_LEN) as u16).to_vec();
        message.extend_from_slice(&public);
        message.extend_from_slice(&tag);
        let message = message.try_into().map_err(|_| Error::Length)?;
        let (from_client, to_client) = self.state.split()?;
        Ok((message, Transport::new(to_client, from_client)))
    }
}

impl Initiator {
    /// Makes the client's message for a server: its machine key, sealed so that only the server can read it.
    ///
    /// `version` is the client's capability version. Errors: [`Error::Forged`] if the server's key is no good.
    pub fn new(
        server_public: &[u8; 32],
        machine_private: &[u8; 32],
        ephemeral_secret: &[u8; 32],
        version: u16,
    ) -> Result<(Initiator, [u8; INITIATION_LEN]), Error> {
        let machine = private_key(machine_private)?;
        let ephemeral = private_key(ephemeral_secret)?;
        let public = public_half(&ephemeral)?;
        let mut state = Symmetric::new(version, server_public);
        state.mix_hash(&public);
        let key = state.mix_dh(&ephemeral, server_public)?;
        let sealed_machine = state.seal(&key, &public_half(&machine)?)?;
        let key = state.mix_dh(&machine, server_public)?;
        let tag = state.seal(&key, &[])?;

        let mut message = version.to_be_bytes().to_vec();
        message.extend_from_slice(&header(INITIATION, (INITIATION_LEN - 2 - HEADER_LEN) as u16));
        message.extend_from_slice(&public);
        message.extend_from_slice(&sealed_machine);
        message.extend_from_slice(&tag);
        let message = message.try_into().map_err(|_| Error::Length)?;
        Ok((Initiator { machine, ephemeral, state }, message))
    }

    /// Checks the server's answer, one whole message (see [`answer_len`]), and gives the keys of the connection.
    ///
    /// Errors: [`Error::Refused`] with the server's words; otherwise as [`Responder::read_initiation`].
    pub fn read_response(mut self, message: &[u8]) -> Result<Transport, Error> {
        if let Some((&REFUSAL, rest)) = message.split_first() {
            let text = rest.get(2..).unwrap_or_default();
            return Err(Error::Refused(String::from_utf8_lossy(text).into_owned()));
        }
        let body = body(message, RESPONSE, RESPONSE_LEN)?;
        let (ephemeral, tag) = body.split_first_chunk::<32>().ok_or(Error::Length)?;
        self.state.mix_hash(ephemeral);
        self.state.mix_dh(&self.ephemeral, ephemeral)?;
        let key = self.state.mix_dh(&self.machine, ephemeral)?;
        self.state.open::<0>(&key, tag)?;
        let (to_server, from_server) = self.state.split()?;
        Ok(Transport::new(to_server, from_server))
    }
}

fn header(kind: u8, len: u16) -> [u8; HEADER_LEN] {
    let [high, low] = len.to_be_bytes();
    [kind, high, low]
}

/// What follows the header of a message that must be of this kind and total length.
fn body(message: &[u8], kind: u8, total: usize) -> Result<&[u8], Error> {
    let (head, body) = message.split_first_chunk::<HEADER_LEN>().ok_or(Error::Length)?;
    if head[0] != kind {
        return Err(Error::Kind(head[0]));
    }
    let announced = usize::from(u16::from_be_bytes([head[1], head[2]]));
    if message.len() != total || announced != body.len() {
        return Err(Error::Length);
    }
    Ok(body)
}
