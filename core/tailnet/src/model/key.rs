//! Auth keys and API keys: `<kind>-<12 characters>-<64 hex digits>`, of which only the digest of the last part
//! is kept. The secret part is 256 random bits, so a fast hash is right for it.

use std::collections::BTreeSet;

use headsail_wire::ids::{ApiKeyId, AuthKeyId, UserId};
use headsail_wire::keys::hex;
use headsail_wire::time::Time;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What the text of an auth key starts with.
pub const AUTH_KEY_PREFIX: &str = "hskey-auth-";
/// What the text of an API key starts with.
pub const API_KEY_PREFIX: &str = "hskey-api-";

const ID_LEN: usize = 12;
const SECRET_LEN: usize = 64;

/// The digest of a key's secret part; compared in constant time.
#[derive(Clone, Copy)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// From the stored bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> KeyDigest {
        KeyDigest(bytes)
    }

    /// The bytes to store.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for KeyDigest {
    fn eq(&self, other: &KeyDigest) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}
impl Eq for KeyDigest {}

impl std::fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyDigest(…)")
    }
}

/// A new key: its text is shown once, its public part and digest are kept.
pub struct NewKey {
    /// The whole text: secret.
    pub text: String,
    /// The public part by which it is found again.
    pub prefix: String,
    /// What is kept of the secret part.
    pub digest: KeyDigest,
}

/// Makes a key of 44 random bytes. `kind` is [`AUTH_KEY_PREFIX`] or [`API_KEY_PREFIX`].
pub fn mint(kind: &str, random: &[u8; 44]) -> NewKey {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let (id, secret) = random.split_at(ID_LEN);
    let prefix: String = id.iter().map(|b| ALPHABET[usize::from(b % 32)] as char).collect();
    let secret = hex(secret);
    NewKey { text: format!("{kind}{prefix}-{secret}"), digest: digest(&secret), prefix }
}

fn digest(secret: &str) -> KeyDigest {
    KeyDigest(Sha256::digest(secret.as_bytes()).into())
}

/// Splits the text of a key into the part by which it is found and the digest of the rest.
pub fn parse(kind: &str, text: &str) -> Option<(String, KeyDigest)> {
    let (prefix, secret) = text.strip_prefix(kind)?.split_once('-')?;
    (prefix.len() == ID_LEN && secret.len() == SECRET_LEN).then(|| (prefix.to_owned(), digest(secret)))
}

/// A key with which machines register without a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthKey {
    /// Number.
    pub id: AuthKeyId,
    /// Public part of the text.
    pub prefix: String,
    /// Digest of the secret part.
    pub digest: KeyDigest,
    /// Owner of the nodes that register with it; `None` only for keys with tags.
    pub user: Option<UserId>,
    /// Tags of the nodes that register with it; empty makes nodes of the user.
    pub tags: BTreeSet<String>,
    /// Whether it registers more than one machine.
    pub reusable: bool,
    /// Whether its nodes vanish when they go offline.
    pub ephemeral: bool,
    /// Whether it has registered a machine.
    pub used: bool,
    /// `None` never expires.
    pub expiration: Option<Time>,
    /// When it was made.
    pub created: Time,
}

/// Why a key doesn't let anyone in. The words are known to users of Headscale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRefusal {
    /// Its time is over, or it was revoked.
    Expired,
    /// It was good for one machine, and had it.
    Used,
}

impl KeyRefusal {
    /// What the user reads.
    pub fn text(self) -> &'static str {
        match self {
            KeyRefusal::Expired => "authkey expired",
            KeyRefusal::Used => "authkey already used",
        }
    }
}

impl AuthKey {
    /// Whether the key lets a machine in now.
    ///
    /// # Errors
    /// Why it doesn't.
    pub fn check(&self, now: Time) -> Result<(), KeyRefusal> {
        if self.expiration.is_some_and(|at| at <= now) {
            return Err(KeyRefusal::Expired);
        }
        if self.used && !self.reusable {
            return Err(KeyRefusal::Used);
        }
        Ok(())
    }
}

/// A key for the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Number.
    pub id: ApiKeyId,
    /// Public part of the text.
    pub prefix: String,
    /// Digest of the secret part.
    pub digest: KeyDigest,
    /// `None` never expires.
    pub expiration: Option<Time>,
    /// When it was made.
    pub created: Time,
    /// When it was last used.
    pub last_seen: Option<Time>,
}

impl ApiKey {
    /// Whether the digest of a presented secret opens this key now.
    pub fn opens(&self, presented: &KeyDigest, now: Time) -> bool {
        self.digest == *presented && self.expiration.is_none_or(|at| at > now)
    }
}
