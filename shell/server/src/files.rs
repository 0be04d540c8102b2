//! Files that only the server may read, written so that a crash leaves the old content or the new one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Makes a directory and the missing ones above it, all with mode 0700. Existing ones keep their mode.
///
/// # Errors
/// Whatever the file system says.
pub fn private_dir(dir: &Path) -> io::Result<()> {
    if dir.as_os_str().is_empty() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Replaces a file: a new one with mode 0600 is written beside it, flushed to the disk and renamed over it.
///
/// # Errors
/// Whatever the file system says; the old file is then untouched.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let fresh = path.with_file_name(name);
    let written = write_fresh(&fresh, content).and_then(|()| fs::rename(&fresh, path));
    if let Err(error) = written {
        // The name carries our process id, so what is left over is ours.
        let _ = fs::remove_file(&fresh);
        return Err(error);
    }
    flush_dir(path)
}

fn write_fresh(path: &PathBuf, content: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// A rename lasts only when its directory is on the disk.
fn flush_dir(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

/// Reads a text file of at most `limit` bytes.
///
/// # Errors
/// Whatever the file system says; a larger file or one that is not UTF-8 is `InvalidData`.
pub fn read_bounded(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is larger than {limit} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_and_directories_are_private_and_replaced_whole() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        private_dir(&dir).unwrap();
        private_dir(&dir).unwrap();
        assert_eq!((mode(&dir), mode(&root.path().join("a"))), (0o700, 0o700));
        let file = dir.join("key");
        write_private(&file, b"one").unwrap();
        write_private(&file, b"two").unwrap();
        assert_eq!((mode(&file), fs::read(&file).unwrap()), (0o600, b"two".to_vec()));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        assert!(write_private(&root.path().join("missing/key"), b"x").is_err());
    }

    #[test]
    fn reading_is_bounded() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("text");
        fs::write(&file, "12345").unwrap();
        assert_eq!(read_bounded(&file, 5).unwrap(), "12345");
        assert_eq!(read_bounded(&file, 4).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
