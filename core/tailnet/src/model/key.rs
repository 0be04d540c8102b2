//! Pre-auth keys and API keys: `<kind>-<12 characters>-<64 hex digits>`. Only a digest of the last part, the secret, is
//! stored. The secret has 256 random bits, so a fast hash is enough.

use std::collections::BTreeSet;

use headsail_wire::ids::{ApiKeyId, AuthKeyId, UserId};
use headsail_wire::keys::hex;
use headsail_wire::time::Time;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

pub const AUTH_KEY_PREFIX: &str = "hskey-auth-";
pub const API_KEY_PREFIX: &str = "hskey-api-";

const ID_LEN: usize = 12;
const SECRET_LEN: usize = 64;

/// The SHA-256 digest of a key's secret part. Comparisons take constant time.
#[derive(Clone, Copy)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    pub const fn from_bytes(bytes: [u8; 32]) -> KeyDigest {
        KeyDigest(bytes)
    }

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

/// A new key. Its text is shown once; only the public part and the digest are stored.
pub struct NewKey {
    /// The whole text, which is secret.
    pub text: String,
    /// The public part, by which the key is looked up.
    pub prefix: String,
    pub digest: KeyDigest,
}

/// Creates a key from 44 random bytes. `kind` is [`AUTH_KEY_PREFIX`] or [`API_KEY_PREFIX`].
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

/// Checks the public part of a key.
///
/// # Errors
/// What no key has.
pub fn check_prefix(prefix: &str) -> Result<(), String> {
    let is_one =
        prefix.len() == ID_LEN && prefix.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if is_one { Ok(()) } else { Err(format!("it is not {ID_LEN} lowercase letters or digits")) }
}

/// Splits the text of a key into its public part and the digest of its secret part; `None` if it is not a key of this
/// kind.
pub fn parse(kind: &str, text: &str) -> Option<(String, KeyDigest)> {
    let (prefix, secret) = text.strip_prefix(kind)?.split_once('-')?;
    (prefix.len() == ID_LEN && secret.len() == SECRET_LEN).then(|| (prefix.to_owned(), digest(secret)))
}

/// A pre-auth key, with which machines register without a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthKey {
    pub id: AuthKeyId,
    /// Public part of the text.
    pub prefix: String,
    /// Digest of the secret part.
    pub digest: KeyDigest,
    /// Owner of the nodes that register with the key, unless it has tags; `None` only if it has.
    pub user: Option<UserId>,
    /// Tags of the nodes that register with the key. If there are none, the nodes belong to the user.
    pub tags: BTreeSet<String>,
    /// Whether it can register more than one machine.
    pub reusable: bool,
    /// Whether its nodes are deleted some time after they go offline.
    pub ephemeral: bool,
    /// Whether it has registered a machine.
    pub used: bool,
    /// `None` for never.
    pub expiration: Option<Time>,
    pub created: Time,
}

/// Why a key is not accepted. The texts are those of Headscale, and its users and tools rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRefusal {
    /// It has expired or was revoked.
    Expired,
    /// It is not reusable and has registered a machine.
    Used,
}

impl KeyRefusal {
    /// The text that the user sees.
    pub fn text(self) -> &'static str {
        match self {
            KeyRefusal::Expired => "authkey expired",
            KeyRefusal::Used => "authkey already used",
        }
    }
}

impl AuthKey {
    /// Checks that the key can register a machine now.
    ///
    /// # Errors
    /// The key has expired or is used up.
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
    pub id: ApiKeyId,
    /// Public part of the text.
    pub prefix: String,
    /// Digest of the secret part.
    pub digest: KeyDigest,
    /// `None` for never.
    pub expiration: Option<Time>,
    pub created: Time,
    /// When it was last used, to within a minute.
    pub last_seen: Option<Time>,
}

impl ApiKey {
    /// Whether a secret with the digest `presented` is accepted for this key now.
    pub fn opens(&self, presented: &KeyDigest, now: Time) -> bool {
        self.digest == *presented && self.expiration.is_none_or(|at| at > now)
    }
}
