//! Files that only the server may read, written so that a crash leaves the old content or the new one; and files that are
//! watched while it runs.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};

/// How old a change must be before a file's time tells every further one: clocks of file systems are coarse.
const SETTLED_AFTER: Duration = Duration::from_secs(5);

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

/// The mode of a directory in which others than its owner may put and replace files.
pub fn open_to_others(dir: &Path) -> Option<u32> {
    let mode = fs::metadata(dir).ok()?.mode() & 0o777;
    (mode & 0o022 != 0).then_some(mode)
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

/// Does what waits for a disk beside the tasks that serve.
///
/// # Errors
/// Those of `work`, or that it panicked.
pub async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// A file that may change while the server runs, and what was last seen of it.
#[derive(Clone)]
pub struct Watch {
    path: PathBuf,
    limit: u64,
    /// `None` where the last look failed, so that the next one reads again.
    seen: Option<Stamp>,
    content: Option<Vec<u8>>,
    /// Why the last look failed, so that it is said once.
    complaint: Option<String>,
}

impl Watch {
    /// Watches a text file of at most `limit` bytes.
    pub fn new(path: PathBuf, limit: u64) -> Watch {
        Watch { path, limit, seen: None, content: None, complaint: None }
    }

    /// Looks at the file this often, until it has other content than at the last look; the first one always finds news.
    /// Nothing is lost where the caller stops waiting.
    ///
    /// # Errors
    /// Why it cannot be read, once for each reason.
    pub async fn news(&mut self, every: Duration) -> io::Result<String> {
        loop {
            tokio::time::sleep(every).await;
            let mut watch = self.clone();
            let (watch, found) = aside(move || {
                let found = watch.look(SystemTime::now());
                Ok((watch, found))
            })
            .await?;
            *self = watch;
            if let Some(found) = found {
                return found;
            }
        }
    }

    /// Has the next look find news, whatever it sees: what came of the last ones could not be used.
    pub fn forget(&mut self) {
        *self = Watch::new(std::mem::take(&mut self.path), self.limit);
    }

    fn look(&mut self, now: SystemTime) -> Option<io::Result<String>> {
        let stamp = Stamp::of(&self.path);
        let settled = stamp
            .as_ref()
            .is_some_and(|s| now.duration_since(s.changed).is_ok_and(|age| age > SETTLED_AFTER));
        if settled && stamp == self.seen {
            return None;
        }
        match read_bounded(&self.path, self.limit) {
            Ok(text) => {
                self.seen = stamp;
                self.complaint = None;
                let content = digest(&SHA256, text.as_bytes()).as_ref().to_vec();
                let is_news = self.content.as_ref() != Some(&content);
                self.content = Some(content);
                is_news.then_some(Ok(text))
            }
            Err(error) => {
                self.seen = None;
                let why = error.to_string();
                let is_news = self.complaint.as_ref() != Some(&why);
                self.complaint = Some(why);
                is_news.then_some(Err(error))
            }
        }
    }
}

/// What changes when somebody writes a file or puts another in its place.
#[derive(Clone, PartialEq)]
struct Stamp {
    /// Of the file and of what is said about it. The time of its content alone may be set to anything, and is where a file
    /// is copied with it.
    changed: SystemTime,
    len: u64,
    /// Device and number.
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
    fn files_and_directories_are_private_and_replaced_whole() {
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
    fn a_watched_file_is_news_when_its_content_is() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("text");
        let mut watch = Watch::new(path.clone(), 10);
        let now = SystemTime::now();
        assert_eq!(watch.look(now).unwrap().unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(watch.look(now).is_none(), "a reason is given once");
        fs::write(&path, "one").unwrap();
        assert_eq!(text(watch.look(now)).as_deref(), Some("one"));
        assert!(watch.look(now).is_none());
        // Of the same length and at the same time, as far as a coarse clock tells.
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "two").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_eq!(text(watch.look(now)).as_deref(), Some("two"));
        // Another file in its place, as editors and config maps do it.
        let later = now + Duration::from_secs(3600);
        let fresh = root.path().join("fresh");
        fs::write(&fresh, "six").unwrap();
        File::options().write(true).open(&fresh).unwrap().set_modified(modified).unwrap();
        fs::rename(&fresh, &path).unwrap();
        assert_eq!(text(watch.look(later)).as_deref(), Some("six"));
        assert!(watch.look(later).is_none());
        // A link that leads elsewhere.
        let (one, two) = (root.path().join("one"), root.path().join("two"));
        for (file, content) in [(&one, "one"), (&two, "two")] {
            fs::write(file, content).unwrap();
            File::options().write(true).open(file).unwrap().set_modified(modified).unwrap();
        }
        let link = root.path().join("link");
        let mut linked = Watch::new(link.clone(), 10);
        std::os::unix::fs::symlink(&one, &link).unwrap();
        assert_eq!(text(linked.look(later)).as_deref(), Some("one"));
        assert!(linked.look(later).is_none());
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&two, &link).unwrap();
        assert_eq!(text(linked.look(later)).as_deref(), Some("two"));
        watch.forget();
        assert_eq!(text(watch.look(later)).as_deref(), Some("six"));
        fs::write(&path, "longer than ten").unwrap();
        assert_eq!(watch.look(later).unwrap().unwrap_err().kind(), io::ErrorKind::InvalidData);
        fs::write(&path, "six").unwrap();
        assert!(watch.look(later).is_none(), "it is read again, and says what it said before");
    }

    #[tokio::test(start_paused = true)]
    async fn news_of_a_watched_file_are_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("text");
        fs::write(&path, "one").unwrap();
        let mut watch = Watch::new(path.clone(), 10);
        let every = Duration::from_secs(2);
        assert_eq!(watch.news(every).await.unwrap(), "one");
        let change = async {
            tokio::time::sleep(3 * every).await;
            fs::write(&path, "two").unwrap();
        };
        let (found, ()) = tokio::join!(watch.news(every), change);
        assert_eq!(found.unwrap(), "two");
    }
}
