//! The symmetric state of a Noise handshake: transcript hash, chaining key, and the single-use ciphers derived from them.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use blake2::{Blake2s256, Digest};
use hmac::{KeyInit, Mac, SimpleHmac};

use crate::Error;

/// Length in bytes of an authentication tag.
pub(crate) const TAG_LEN: usize = 16;

const PROTOCOL: &[u8] = b"Noise_IK_25519_ChaChaPoly_BLAKE2s";

/// The `SymmetricState` of the Noise specification.
pub(crate) struct Symmetric {
    hash: [u8; 32],
    chain: [u8; 32],
}

impl Symmetric {
    /// The state before the first message, with the protocol name, the prologue for `version` and the server's static key
    /// mixed in.
    pub(crate) fn new(version: u16, server_public: &[u8; 32]) -> Symmetric {
        let start = blake2s(&[PROTOCOL]);
        let mut state = Symmetric { hash: start, chain: start };
        state.mix_hash(format!("Tailscale Control Protocol v{version}").as_bytes());
        state.mix_hash(server_public);
        state
    }

    pub(crate) fn mix_hash(&mut self, data: &[u8]) {
        self.hash = blake2s(&[&self.hash, data]);
    }

    /// Mixes in the shared secret of two keys and returns the key for the next encryption.
    pub(crate) fn mix_dh(&mut self, mine: &PrivateKey, theirs: &[u8; 32]) -> Result<[u8; 32], Error> {
        let shared = dh(mine, theirs)?;
        let (chain, key) = hkdf(&self.chain, &shared);
        self.chain = chain;
        Ok(key)
    }

    /// Encrypts `plaintext` under `key` and mixes the result into the transcript.
    pub(crate) fn seal(&mut self, key: &[u8; 32], plaintext: &[u8]) -> Result<Vec<u8>, Error> {
        let mut text = plaintext.to_vec();
        cipher(key)?
            .seal_in_place_append_tag(zero_nonce(), Aad::from(&self.hash), &mut text)
            .map_err(|_| Error::Forged)?;
        self.mix_hash(&text);
        Ok(text)
    }

    /// Decrypts a ciphertext with `N` bytes of plaintext and mixes it into the transcript.
    pub(crate) fn open<const N: usize>(
        &mut self,
        key: &[u8; 32],
        ciphertext: &[u8],
    ) -> Result<[u8; N], Error> {
        let mut text = ciphertext.to_vec();
        let plaintext = cipher(key)?
            .open_in_place(zero_nonce(), Aad::from(&self.hash), &mut text)
            .map_err(|_| Error::Forged)?;
        let plaintext = <[u8; N]>::try_from(&*plaintext).map_err(|_| Error::Length)?;
        self.mix_hash(ciphertext);
        Ok(plaintext)
    }

    /// The transport keys: (client to server, server to client).
    pub(crate) fn split(&self) -> Result<(LessSafeKey, LessSafeKey), Error> {
        let (first, second) = hkdf(&self.chain, &[]);
        Ok((cipher(&first)?, cipher(&second)?))
    }
}

/// Reads an X25519 secret.
pub(crate) fn private_key(secret: &[u8; 32]) -> Result<PrivateKey, Error> {
    PrivateKey::from_private_key(&X25519, secret).map_err(|_| Error::Forged)
}

/// The public key of an X25519 secret.
pub(crate) fn public_half(key: &PrivateKey) -> Result<[u8; 32], Error> {
    let public = key.compute_public_key().map_err(|_| Error::Forged)?;
    <[u8; 32]>::try_from(public.as_ref()).map_err(|_| Error::Length)
}

/// X25519. A low-order point, for which the shared secret is zero whatever our secret is, is rejected as forged.
fn dh(mine: &PrivateKey, theirs: &[u8; 32]) -> Result<[u8; 32], Error> {
    agree(mine, UnparsedPublicKey::new(&X25519, theirs), Error::Forged, |shared| {
        let shared = <[u8; 32]>::try_from(shared).map_err(|_| Error::Length)?;
        if shared == [0; 32] { Err(Error::Forged) } else { Ok(shared) }
    })
}

fn cipher(key: &[u8; 32]) -> Result<LessSafeKey, Error> {
    UnboundKey::new(&CHACHA20_POLY1305, key).map(LessSafeKey::new).map_err(|_| Error::Forged)
}

/// The nonce of handshake messages. Zero is safe because every handshake key encrypts exactly once.
fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn blake2s(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Blake2s256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// HKDF with HMAC-BLAKE2s and two outputs, as Noise defines it.
fn hkdf(chain: &[u8; 32], input: &[u8]) -> ([u8; 32], [u8; 32]) {
    let secret = hmac(chain, &[input]);
    let first = hmac(&secret, &[&[1]]);
    let second = hmac(&secret, &[&first, &[2]]);
    (first, second)
}

fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC pads a short key with zeros to the block size of its hash, here 64 bytes.
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let mut mac = SimpleHmac::<Blake2s256>::new(&block.into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_order_points_are_rejected() {
        let mine = private_key(&[7; 32]).unwrap();
        let mut one = [0; 32];
        one[0] = 1;
        // A point of order 8, from the usual list for Curve25519. RFC 7748 section 6.1 describes the check.
        let order_eight = [
            0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
            0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
        ];
        for point in [[0; 32], one, order_eight] {
            assert_eq!(dh(&mine, &point), Err(Error::Forged));
        }
        assert!(dh(&mine, &public_half(&private_key(&[9; 32]).unwrap()).unwrap()).is_ok());
    }
}
