//! The two messages of the handshake, for client and server.
//!
//! The pattern is IK: the client knows the server's static key and proves its own in the first message, so a connection
//! is ready after one round trip. Mirrors `control/controlbase/{messages,handshake}.go`.

use aws_lc_rs::agreement::PrivateKey;

use crate::symmetric::{Symmetric, TAG_LEN, private_key, public_half};
use crate::{Error, Transport};

/// Length in bytes of the client's message: version, type, length, ephemeral key, sealed machine key, tag.
pub const INITIATION_LEN: usize = 2 + HEADER_LEN + 32 + 48 + TAG_LEN;
/// Length in bytes of the server's response: type, length, ephemeral key, tag.
pub const RESPONSE_LEN: usize = HEADER_LEN + 32 + TAG_LEN;
/// Length in bytes of the header of every message: type and length. In the initiation, the version precedes it.
pub const HEADER_LEN: usize = 3;

const INITIATION: u8 = 1;
const RESPONSE: u8 = 2;
const REFUSAL: u8 = 3;

/// The server's side. It has the server's static key and responds to any number of clients.
pub struct Responder {
    secret: PrivateKey,
    public: [u8; 32],
}

/// A handshake whose first message was valid; the client waits for the response.
pub struct Handshake {
    machine_key: [u8; 32],
    client_ephemeral: [u8; 32],
    state: Symmetric,
}

/// The client's side, between its message and the server's response.
pub struct Initiator {
    machine: PrivateKey,
    ephemeral: PrivateKey,
    state: Symmetric,
}

/// The public key of an X25519 secret. Fails only if the cryptographic library does.
pub fn public_key(secret: &[u8; 32]) -> Result<[u8; 32], Error> {
    public_half(&private_key(secret)?)
}

/// The error message that a server may send instead of its response. Text beyond 64 KiB is cut off.
pub fn refusal(text: &str) -> Vec<u8> {
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
    let mut message = header(REFUSAL, len).to_vec();
    message.extend_from_slice(text.as_bytes().get(..usize::from(len)).unwrap_or_default());
    message
}

/// Length in bytes of the message that begins with `start`: a server's response or refusal. `None` if the header is
/// incomplete.
pub fn answer_len(start: &[u8]) -> Option<usize> {
    let (header, _) = start.split_first_chunk::<HEADER_LEN>()?;
    Some(HEADER_LEN + usize::from(u16::from_be_bytes([header[1], header[2]])))
}

impl Responder {
    /// A responder with the server's X25519 secret.
    pub fn new(static_private: &[u8; 32]) -> Result<Responder, Error> {
        let secret = private_key(static_private)?;
        let public = public_half(&secret)?;
        Ok(Responder { secret, public })
    }

    /// The server's public key, which clients must know in advance.
    pub fn public_key(&self) -> &[u8; 32] {
        &self.public
    }

    /// Checks a client's message. It may be a replay: only the first valid record proves that the client is live.
    ///
    /// Errors: [`Error::Length`] and [`Error::Kind`] if the message is not an initiation, [`Error::Forged`] if it was
    /// made for another server or has been tampered with.
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
    /// The client's machine key, which the message has proven.
    pub fn machine_key(&self) -> &[u8; 32] {
        &self.machine_key
    }

    /// Builds the response and derives the keys of the connection. `ephemeral_secret` must be fresh random bytes that are
    /// used for this connection only.
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
    /// Builds the client's message to a server. It contains the machine key, encrypted so that only the server can read
    /// it.
    ///
    /// `version` is the client's capability version. Errors: [`Error::Forged`] if the server's key is invalid.
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

    /// Checks the server's response, which must be one whole message (see [`answer_len`]), and derives the keys of the
    /// connection.
    ///
    /// Errors: [`Error::Refused`] with the server's error text; otherwise those of [`Responder::read_initiation`].
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

/// The body of a message that must have this type and total length.
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
