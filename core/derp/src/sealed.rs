//! The handshake's two sealed notes, and the keys that seal them.
//!
//! Each side seals a JSON note for the other with NaCl box (X25519, XSalsa20, Poly1305). Opening the client's note is
//! the proof that it holds the key it claims. Nonces are handed in, 24 fresh random bytes each.

use crypto_box::aead::Aead;
use crypto_box::{PublicKey, SalsaBox, SecretKey};
use headsail_wire::json;
use headsail_wire::keys::NodeKey;
use serde::{Deserialize, Serialize};

use crate::PROTOCOL_VERSION;
use crate::frame::{Frame, NONCE_LEN};

/// What a client says of itself. A mesh key, which only other relays have, is not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientInfo {
    /// The protocol version it was built for.
    #[serde(skip_serializing_if = "json::is_default")]
    pub version: u32,
    /// Whether it answers pings.
    #[serde(rename = "CanAckPings")]
    pub can_ack_pings: bool,
    /// Whether it only measures.
    #[serde(rename = "IsProber", skip_serializing_if = "json::is_default")]
    pub is_prober: bool,
    /// The program's name, if it gives one.
    #[serde(rename = "AppName", skip_serializing_if = "json::is_default")]
    pub app_name: String,
}

impl Default for ClientInfo {
    fn default() -> Self {
        ClientInfo {
            version: PROTOCOL_VERSION,
            can_ack_pings: false,
            is_prober: false,
            app_name: String::new(),
        }
    }
}

/// What the server says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerInfo {
    /// The protocol version it speaks.
    pub version: u32,
    /// Bytes per second that a client shall not exceed; 0 for no limit.
    #[serde(rename = "TokenBucketBytesPerSecond", skip_serializing_if = "json::is_default")]
    pub bytes_per_second: u64,
    /// Bytes that it may send at once beyond that.
    #[serde(rename = "TokenBucketBytesBurst", skip_serializing_if = "json::is_default")]
    pub burst_bytes: u64,
}

impl Default for ServerInfo {
    fn default() -> Self {
        ServerInfo { version: PROTOCOL_VERSION, bytes_per_second: 0, burst_bytes: 0 }
    }
}

/// The key of a relay or of a client.
pub struct Identity {
    secret: SecretKey,
    public: NodeKey,
}

/// A client that has proven its key and waits for the server's note.
pub struct Joining {
    /// The proven key.
    pub key: NodeKey,
    /// What it says of itself.
    pub info: ClientInfo,
    cipher: SalsaBox,
}

impl Identity {
    /// From an X25519 secret.
    pub fn new(secret: [u8; 32]) -> Identity {
        let secret = SecretKey::from(secret);
        let public = NodeKey::from_bytes(secret.public_key().to_bytes());
        Identity { secret, public }
    }

    /// The public half.
    pub fn public(&self) -> NodeKey {
        self.public
    }

    /// Server: the first frame of a connection.
    pub fn greeting(&self) -> Vec<u8> {
        Frame::ServerKey(self.public).to_vec()
    }

    /// Server: opens the note of the client that claims `key`. None if it does not hold that key or says no JSON.
    pub fn open_client_info(&self, key: NodeKey, nonce: &[u8; NONCE_LEN], sealed: &[u8]) -> Option<Joining> {
        if key.is_zero() {
            return None;
        }
        let cipher = self.cipher(&key);
        let text = cipher.decrypt(nonce.into(), sealed).ok()?;
        Some(Joining { key, info: json::decode(&text).ok()?, cipher })
    }

    /// Client: the frame that introduces it to the server of `server_key`.
    pub fn client_info(&self, server_key: NodeKey, nonce: &[u8; NONCE_LEN], info: &ClientInfo) -> Vec<u8> {
        let sealed = seal(&self.cipher(&server_key), nonce, info);
        Frame::ClientInfo(self.public, *nonce, &sealed).to_vec()
    }

    /// Client: opens the server's note. None if it is not from the holder of `server_key`.
    pub fn open_server_info(
        &self,
        server_key: NodeKey,
        nonce: &[u8; NONCE_LEN],
        sealed: &[u8],
    ) -> Option<ServerInfo> {
        let text = self.cipher(&server_key).decrypt(nonce.into(), sealed).ok()?;
        json::decode(&text).ok()
    }

    fn cipher(&self, theirs: &NodeKey) -> SalsaBox {
        SalsaBox::new(&PublicKey::from(*theirs.bytes()), &self.secret)
    }
}

impl Joining {
    /// The frame that ends the handshake.
    pub fn server_info(&self, nonce: &[u8; NONCE_LEN], info: &ServerInfo) -> Vec<u8> {
        Frame::ServerInfo(*nonce, &seal(&self.cipher, nonce, info)).to_vec()
    }
}

/// Seals a note. It cannot fail for notes as short as ours; were it to, the other side would refuse the empty box.
fn seal(cipher: &SalsaBox, nonce: &[u8; NONCE_LEN], note: &impl Serialize) -> Vec<u8> {
    let text = serde_json::to_vec(note).unwrap_or_default();
    cipher.encrypt(nonce.into(), text.as_slice()).unwrap_or_default()
}
