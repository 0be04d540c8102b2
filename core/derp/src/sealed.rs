//! The two sealed messages of the handshake, and the keys that seal them.
//!
//! Each side seals a JSON message for the other with NaCl box (X25519, XSalsa20, Poly1305). If the client's message opens,
//! the client has proven that it has the key it claims. The caller passes in each nonce: 24 fresh random bytes.

use crypto_box::aead::Aead;
use crypto_box::{PublicKey, SalsaBox, SecretKey};
use headsail_wire::json;
use headsail_wire::keys::NodeKey;
use serde::{Deserialize, Serialize};

use crate::PROTOCOL_VERSION;
use crate::frame::{Frame, NONCE_LEN};

/// What a client reports about itself. The mesh key, which only other relays have, is ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientInfo {
    /// The protocol version the client was built for; see [`PROTOCOL_VERSION`].
    #[serde(skip_serializing_if = "json::is_default")]
    pub version: u32,
    /// Whether the client answers pings.
    #[serde(rename = "CanAckPings")]
    pub can_ack_pings: bool,
    /// Whether the client is a prober, which only measures.
    #[serde(rename = "IsProber", skip_serializing_if = "json::is_default")]
    pub is_prober: bool,
    /// Name of the program; empty if it sends none.
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

/// What the server reports about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerInfo {
    /// The protocol version the server speaks; see [`PROTOCOL_VERSION`].
    pub version: u32,
    /// Rate limit of the client in bytes per second; 0 for no limit.
    #[serde(rename = "TokenBucketBytesPerSecond", skip_serializing_if = "json::is_default")]
    pub bytes_per_second: u64,
    /// Bytes that the client may send in a burst beyond that.
    #[serde(rename = "TokenBucketBytesBurst", skip_serializing_if = "json::is_default")]
    pub burst_bytes: u64,
}

impl Default for ServerInfo {
    fn default() -> Self {
        ServerInfo { version: PROTOCOL_VERSION, bytes_per_second: 0, burst_bytes: 0 }
    }
}

/// The key pair of a relay or client.
pub struct Identity {
    secret: SecretKey,
    public: NodeKey,
}

/// A client that has proven its key and waits for the server's message.
pub struct Joining {
    /// The client's public key.
    pub key: NodeKey,
    /// What the client reported about itself.
    pub info: ClientInfo,
    cipher: SalsaBox,
}

impl Identity {
    /// The key pair of an X25519 secret.
    pub fn new(secret: [u8; 32]) -> Identity {
        let secret = SecretKey::from(secret);
        let public = NodeKey::from_bytes(secret.public_key().to_bytes());
        Identity { secret, public }
    }

    /// The public key.
    pub fn public(&self) -> NodeKey {
        self.public
    }

    /// For servers: the first frame of a connection.
    pub fn greeting(&self) -> Vec<u8> {
        Frame::ServerKey(self.public).to_vec()
    }

    /// For servers: opens the message of the client that claims `key`. `None` if the client does not have that key, or the
    /// message is not valid JSON.
    pub fn open_client_info(&self, key: NodeKey, nonce: &[u8; NONCE_LEN], sealed: &[u8]) -> Option<Joining> {
        if key.is_zero() {
            return None;
        }
        let cipher = self.cipher(&key);
        let text = cipher.decrypt(nonce.into(), sealed).ok()?;
        Some(Joining { key, info: json::decode(&text).ok()?, cipher })
    }

    /// For clients: the frame that introduces the client to the server with `server_key`.
    pub fn client_info(&self, server_key: NodeKey, nonce: &[u8; NONCE_LEN], info: &ClientInfo) -> Vec<u8> {
        let sealed = seal(&self.cipher(&server_key), nonce, info);
        Frame::ClientInfo(self.public, *nonce, &sealed).to_vec()
    }

    /// For clients: opens the server's message. `None` if the server does not have the secret of `server_key`, or the
    /// message is not valid JSON.
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
    /// The frame that completes the handshake.
    pub fn server_info(&self, nonce: &[u8; NONCE_LEN], info: &ServerInfo) -> Vec<u8> {
        Frame::ServerInfo(*nonce, &seal(&self.cipher, nonce, info)).to_vec()
    }
}

/// Seals a message. This cannot fail for messages as short as ours; if it did, the other side would reject the empty box.
fn seal(cipher: &SalsaBox, nonce: &[u8; NONCE_LEN], message: &impl Serialize) -> Vec<u8> {
    let text = serde_json::to_vec(message).unwrap_or_default();
    cipher.encrypt(nonce.into(), text.as_slice()).unwrap_or_default()
}
