//! Files that only the server may read, replaced atomically so that a crash leaves either the old or the new content;
//! and files that are watched for changes.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};

/// File system timestamps are coarse: two changes in quick succession may get the same one. Only when the last change
/// is older than this does an unchanged timestamp prove that the file is unchanged.
const SETTLED_AFTER: Duration = Duration::from_secs(5);

/// Creates a directory and its missing parents, all with mode 0700. Existing directories keep their mode.
///
/// # Errors
/// Those of the file system.
pub fn private_dir(dir: &Path) -> io::Result<()> {
    if dir.as_os_str().is_empty() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// The mode of a directory if users other than its owner may create and replace files in it.
pub fn open_to_others(dir: &Path) -> Option<u32> {
    let mode = fs::metadata(dir).ok()?.mode() & 0o777;
    (mode & 0o022 != 0).then_some(mode)
}

/// The mode of a file if users other than its owner may read it.
pub fn readable_by_others(path: &Path) -> Option<u32> {
    let mode = fs::metadata(path).ok()?.mode() & 0o777;
    (mode & 0o044 != 0).then_some(mode)
}

/// Replaces a file atomically: writes a new file with mode 0600 beside it, flushes that to disk and renames it into
/// place.
///
/// # Errors
/// Those of the file system. The old file is then unchanged.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let fresh = path.with_file_name(name);
    let written = write_fresh(&fresh, content).and_then(|()| fs::rename(&fresh, path));
    if let Err(error) = written {
        // The name contains our process id, so the leftover is ours.
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

/// A rename is durable only once its directory has been flushed.
fn flush_dir(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

/// Reads a text file of at most `limit` bytes.
///
/// # Errors
/// Those of the file system; `InvalidData` if the file is larger or not UTF-8.
pub fn read_bounded(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is larger than {limit} bytes")));
    }
    Ok(text)
}

/// Runs blocking `work` on a thread of its own, so that it does not hold up the tasks that serve clients.
///
/// # Errors
/// Those of `work`, or that it panicked.
pub async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Watches a file by polling: remembers what the last poll found.
#[derive(Clone)]
pub struct Watch {
    path: PathBuf,
    limit: u64,
    /// `None` after a failed read, so that the next poll reads the file again.
    stamp: Option<Stamp>,
    /// Hash of the content.
    digest: Option<Vec<u8>>,
    /// Why the last read failed, so that each error is reported once.
    last_error: Option<String>,
}

impl Watch {
    /// Watches a text file of at most `limit` bytes. A new watch reports the file at its first poll.
    pub fn new(path: PathBuf, limit: u64) -> Watch {
        Watch { path, limit, stamp: None, digest: None, last_error: None }
    }

    /// Polls the file at this interval and returns its content once that has changed. Cancel safe: a change is not lost
    /// if the caller drops the future.
    ///
    /// # Errors
    /// The file cannot be read. An error is reported again only after it changed or the file was readable in between.
    pub async fn next_change(&mut self, every: Duration) -> io::Result<String> {
        loop {
            tokio::time::sleep(every).await;
            let mut watch = self.clone();
            let (watch, found) = run_blocking(move || {
                let found = watch.poll(SystemTime::now());
                Ok((watch, found))
            })
            .await?;
            *self = watch;
            if let Some(found) = found {
                return found;
            }
        }
    }

    /// Makes the next poll report the file even if it has not changed, so that the caller can retry.
    pub fn reset(&mut self) {
        *self = Watch::new(std::mem::take(&mut self.path), self.limit);
    }

    fn poll(&mut self, now: SystemTime) -> Option<io::Result<String>> {
        let stamp = Stamp::of(&self.path);
        let settled = stamp
            .as_ref()
            .is_some_and(|s| now.duration_since(s.changed).is_ok_and(|age| age > SETTLED_AFTER));
        if settled && stamp == self.stamp {
            return None;
        }
        match read_bounded(&self.path, self.limit) {
            Ok(text) => {
                self.stamp = stamp;
                self.last_error = None;
                let digest = Some(digest(&SHA256, text.as_bytes()).as_ref().to_vec());
                let changed = self.digest != digest;
                self.digest = digest;
                changed.then_some(Ok(text))
            }
            Err(error) => {
                self.stamp = None;
                let text = Some(error.to_string());
                let changed = self.last_error != text;
                self.last_error = text;
                changed.then_some(Err(error))
            }
        }
    }
}

/// The metadata that changes when a file is written or replaced.
#[derive(Clone, PartialEq)]
struct Stamp {
    /// The inode change time (ctime). The modification time will not do: copying tools preserve it.
    changed: SystemTime,
    len: u64,
    /// Device and inode number.
    inode: (u64, u64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Stamp> {
        let meta = fs::metadata(path).ok()?;
        let since_epoch = Duration::new(meta.ctime().try_into().ok()?, meta.ctime_nsec().try_into().ok()?);
        let changed = SystemTime::UNIX_EPOCH.checked_add(since_epoch)?;
        Some(Stamp { changed, len: meta.len(), inode: (meta.dev(), meta.ino()) })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_and_directories_are_private_and_files_are_replaced_atomically() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        private_dir(&dir).unwrap();
        private_dir(&dir).unwrap();
        assert_eq!((mode(&dir), mode(&root.path().join("a"))), (0o700, 0o700));
        assert_eq!(open_to_others(&dir), None);
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(open_to_others(&dir), Some(0o777));
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

    fn text(found: Option<io::Result<String>>) -> Option<String> {
        found.map(|read| read.unwrap())
    }

    #[test]
    fn a_watch_reports_a_file_when_its_content_changes() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("text");
        let mut watch = Watch::new(path.clone(), 10);
        let now = SystemTime::now();
        assert_eq!(watch.poll(now).unwrap().unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(watch.poll(now).is_none(), "each error is reported once");
        fs::write(&path, "one").unwrap();
        assert_eq!(text(watch.poll(now)).as_deref(), Some("one"));
        assert!(watch.poll(now).is_none());
        // Same length and same modification time.
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "two").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_eq!(text(watch.poll(now)).as_deref(), Some("two"));
        // Another file in its place, as editors and Kubernetes config maps do it.
        let later = now + Duration::from_secs(3600);
        let fresh = root.path().join("fresh");
        fs::write(&fresh, "six").unwrap();
        File::options().write(true).open(&fresh).unwrap().set_modified(modified).unwrap();
        fs::rename(&fresh, &path).unwrap();
        assert_eq!(text(watch.poll(later)).as_deref(), Some("six"));
        assert!(watch.poll(later).is_none());
        // A symbolic link that now points elsewhere.
        let (one, two) = (root.path().join("one"), root.path().join("two"));
        for (file, content) in [(&one, "one"), (&two, "two")] {
            fs::write(file, content).unwrap();
            File::options().write(true).open(file).unwrap().set_modified(modified).unwrap();
        }
        let link = root.path().join("link");
        let mut linked = Watch::new(link.clone(), 10);
        std::os::unix::fs::symlink(&one, &link).unwrap();
        assert_eq!(text(linked.poll(later)).as_deref(), Some("one"));
        assert!(linked.poll(later).is_none());
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&two, &link).unwrap();
        assert_eq!(text(linked.poll(later)).as_deref(), Some("two"));
        watch.reset();
        assert_eq!(text(watch.poll(later)).as_deref(), Some("six"));
        fs::write(&path, "longer than ten").unwrap();
        assert_eq!(watch.poll(later).unwrap().unwrap_err().kind(), io::ErrorKind::InvalidData);
        fs::write(&path, "six").unwrap();
        assert!(watch.poll(later).is_none(), "the content is the same as before the error");
    }

    #[tokio::test(start_paused = true)]
    async fn next_change_waits_until_the_file_changes() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("text");
        fs::write(&path, "one").unwrap();
        let mut watch = Watch::new(path.clone(), 10);
        let every = Duration::from_secs(2);
        assert_eq!(watch.next_change(every).await.unwrap(), "one");
        let change = async {
            tokio::time::sleep(3 * every).await;
            fs::write(&path, "two").unwrap();
        };
        let (found, ()) = tokio::join!(watch.next_change(every), change);
        assert_eq!(found.unwrap(), "two");
    }
}
