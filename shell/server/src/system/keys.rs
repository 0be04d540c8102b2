//! Private key files in Headscale's format: `privkey:` followed by 64 hex digits.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use headsail_wire::keys::{hex, unhex32};

use crate::system::files;

const PREFIX: &str = "privkey:";
/// A key file is far smaller; anything larger is some other file.
const MAX_FILE_BYTES: u64 = 4096;

/// An X25519 private key. It implements neither `Debug` nor `Display`, so that it cannot end up in a log.
#[derive(Clone)]
pub struct PrivateKey([u8; 32]);

impl PrivateKey {
    /// Generates a key, clamped as Go clamps it.
    ///
    /// # Errors
    /// The operating system provides no random bytes.
    pub fn generate() -> io::Result<PrivateKey> {
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes)
            .map_err(|_| io::Error::other("the operating system provides no random bytes"))?;
        bytes[0] &= 248;
        bytes[31] = (bytes[31] & 127) | 64;
        Ok(PrivateKey(bytes))
    }

    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

#[derive(Debug)]
pub struct KeyError {
    path: PathBuf,
    why: String,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot use the key file `{}`: {}", self.path.display(), self.why)
    }
}

impl std::error::Error for KeyError {}

/// Reads a key file, and warns if other users can read it too. If there is none, generates a key and writes it with mode
/// 0600.
///
/// # Errors
/// The file cannot be read or written, or does not contain a key. A malformed file is never replaced: what is left of
/// it may help to restore the key that all clients identify this server by.
pub fn load_or_create(path: &Path) -> Result<PrivateKey, KeyError> {
    match find(path)? {
        Some(key) => {
            if let Some(mode) = files::readable_by_others(path) {
                let shown = path.display();
                tracing::warn!(
                    "other users can read the private key in `{shown}` (mode {mode:04o}): run `chmod 600 {shown}`"
                );
            }
            Ok(key)
        }
        None => create(path).map_err(|error| KeyError { path: path.to_owned(), why: error.to_string() }),
    }
}

/// Reads a key file; `None` if it does not exist.
///
/// # Errors
/// The file cannot be read or does not contain a key.
pub fn find(path: &Path) -> Result<Option<PrivateKey>, KeyError> {
    let failed = |why: String| KeyError { path: path.to_owned(), why };
    match files::read_bounded(path, MAX_FILE_BYTES) {
        Ok(text) => parse(&text).map(Some).ok_or_else(|| {
            failed(format!(
                "it does not contain `{PREFIX}` followed by 64 hex digits; restore it from a backup, or move it away to get a new key (all clients then have to log in again)"
            ))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn parse(text: &str) -> Option<PrivateKey> {
    let bytes = text.trim().strip_prefix(PREFIX).and_then(unhex32)?;
    // The all-zero key is never generated; a file that contains it is damaged.
    (bytes != [0; 32]).then_some(PrivateKey(bytes))
}

fn create(path: &Path) -> io::Result<PrivateKey> {
    let key = PrivateKey::generate()?;
    files::private_dir(path.parent().unwrap_or(Path::new("")))?;
    files::write_private(path, format!("{PREFIX}{}\n", hex(key.bytes())).as_bytes())?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_generated_once_and_read_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/noise_private.key");
        let created = load_or_create(&path).unwrap_or_else(|error| panic!("{error}"));
        let again = load_or_create(&path).unwrap_or_else(|error| panic!("{error}"));
        assert!(created.bytes() == again.bytes());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!((created.bytes()[0] & 7, created.bytes()[31] >> 6), (0, 1));
        let other = load_or_create(&dir.path().join("other.key")).unwrap_or_else(|error| panic!("{error}"));
        assert!(created.bytes() != other.bytes());
    }

    #[test]
    fn headscale_key_files_are_read_and_malformed_files_are_rejected_untouched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        fs::write(&path, format!("privkey:{}\n", "aB".repeat(32))).unwrap();
        assert!(load_or_create(&path).is_ok_and(|key| key.bytes() == &[0xab; 32]));
        for bad in [
            "",
            "privkey:",
            "abc",
            &"ab".repeat(32),
            &format!("privkey:{}", "zz".repeat(32)),
            &format!("privkey:{}", "00".repeat(32)),
        ] {
            fs::write(&path, bad).unwrap();
            let Err(error) = load_or_create(&path) else { panic!("accepted {bad}") };
            let start = format!(
                "cannot use the key file `{}`: it does not contain `privkey:` followed by 64 hex digits; ",
                path.display()
            );
            assert!(error.to_string().starts_with(&start), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), bad);
        }
    }
}
