//! Encrypted records: `0x04 | u16 length | ciphertext`, at most 4096 bytes in total.
//!
//! Mirrors `control/controlbase/conn.go`. The nonce is four zero bytes and a big-endian counter per direction; plain Noise
//! is little-endian. After the first failure, a direction neither opens nor seals any further record.

use std::ops::Range;

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};

use crate::Error;
use crate::symmetric::TAG_LEN;

/// Maximum length in bytes of one record, including header and tag.
pub const MAX_RECORD: usize = 4096;
/// Maximum length in bytes of the plaintext in one record.
pub const MAX_PLAINTEXT: usize = MAX_RECORD - HEADER_LEN - TAG_LEN;
/// Length in bytes of the header of a record: type and length.
pub const HEADER_LEN: usize = 3;

const RECORD: u8 = 4;

/// A connection after its handshake, with one key per direction. Its two halves can be moved out and used independently.
pub struct Transport {
    /// Encrypts what we send.
    pub sealer: Sealer,
    /// Decrypts what we receive.
    pub opener: Opener,
}

impl Transport {
    pub(crate) fn new(sending: LessSafeKey, receiving: LessSafeKey) -> Transport {
        Transport {
            sealer: Sealer { key: sending, counter: Counter::new() },
            opener: Opener { key: receiving, counter: Counter::new() },
        }
    }
}

/// Encrypts one direction of a connection.
pub struct Sealer {
    key: LessSafeKey,
    counter: Counter,
}

impl Sealer {
    /// Appends `plaintext` to `out` as one or more records; appends nothing if it is empty.
    ///
    /// Errors: [`Error::Closed`] after 2^64 - 1 records.
    pub fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        out.reserve(plaintext.len() + plaintext.len().div_ceil(MAX_PLAINTEXT) * (HEADER_LEN + TAG_LEN));
        for chunk in plaintext.chunks(MAX_PLAINTEXT) {
            let nonce = self.counter.next()?;
            let [high, low] = ((chunk.len() + TAG_LEN) as u16).to_be_bytes();
            out.extend_from_slice(&[RECORD, high, low]);
            let start = out.len();
            out.extend_from_slice(chunk);
            let body = out.get_mut(start..).ok_or(Error::Closed)?;
            let tag = self.key.seal_in_place_separate_tag(nonce, Aad::empty(), body);
            out.extend_from_slice(tag.map_err(|_| Error::Closed)?.as_ref());
        }
        Ok(())
    }
}

/// The position of a record in the buffer passed to [`Opener::open`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Range of the decrypted content, which may be empty.
    pub plaintext: Range<usize>,
    /// Length of the whole record in bytes; the next record begins here.
    pub len: usize,
}

/// Decrypts one direction of a connection. It buffers nothing: incomplete records stay in the caller's buffer.
pub struct Opener {
    key: LessSafeKey,
    counter: Counter,
}

impl Opener {
    /// Decrypts the record at the front of `buf` in place; `None` if it is incomplete.
    ///
    /// [`MAX_RECORD`] bytes are always enough to complete a record. Errors: [`Error::Kind`] and [`Error::Length`] as soon
    /// as the header shows them, [`Error::Forged`] for content that does not authenticate. After an error, every later
    /// call returns [`Error::Closed`].
    pub fn open(&mut self, buf: &mut [u8]) -> Result<Option<Record>, Error> {
        let result = self.try_open(buf);
        if result.is_err() {
            self.counter.close();
        }
        result
    }

    fn try_open(&mut self, buf: &mut [u8]) -> Result<Option<Record>, Error> {
        self.counter.check()?;
        match buf.first() {
            None => return Ok(None),
            Some(&RECORD) => {}
            Some(&kind) => return Err(Error::Kind(kind)),
        }
        let Some((header, rest)) = buf.split_first_chunk_mut::<HEADER_LEN>() else { return Ok(None) };
        let len = usize::from(u16::from_be_bytes([header[1], header[2]]));
        if !(TAG_LEN..=MAX_RECORD - HEADER_LEN).contains(&len) {
            return Err(Error::Length);
        }
        let Some(body) = rest.get_mut(..len) else { return Ok(None) };
        let nonce = self.counter.next()?;
        self.key.open_in_place(nonce, Aad::empty(), body).map_err(|_| Error::Forged)?;
        let end = HEADER_LEN + len;
        Ok(Some(Record { plaintext: HEADER_LEN..end - TAG_LEN, len: end }))
    }

    /// Moves the content of all complete records from `input` to the end of `out`; an incomplete record stays in `input`.
    ///
    /// Errors: those of [`Opener::open`]. The content of the records before the bad one has been moved by then.
    pub fn drain(&mut self, input: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut done = 0;
        let result = loop {
            let rest = input.get_mut(done..).unwrap_or_default();
            match self.open(rest) {
                Ok(Some(record)) => {
                    out.extend_from_slice(rest.get(record.plaintext).unwrap_or_default());
                    done += record.len;
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        input.drain(..done);
        result
    }
}

/// The nonces of one direction. Each is returned once; there is none after the last one or after [`Counter::close`].
struct Counter(u64);

impl Counter {
    fn new() -> Counter {
        Counter(0)
    }

    fn check(&self) -> Result<(), Error> {
        if self.0 == u64::MAX { Err(Error::Closed) } else { Ok(()) }
    }

    fn next(&mut self) -> Result<Nonce, Error> {
        self.check()?;
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.0.to_be_bytes());
        self.0 += 1;
        Ok(Nonce::assume_unique_for_key(nonce))
    }

    fn close(&mut self) {
        self.0 = u64::MAX;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_nonce_is_never_used() {
        let mut counter = Counter(u64::MAX - 1);
        assert!(counter.next().is_ok());
        assert_eq!(counter.next().err(), Some(Error::Closed));
        assert_eq!(counter.next().err(), Some(Error::Closed));
    }
}
