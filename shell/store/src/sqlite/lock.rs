//! One server for one database.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::Fault;

/// File systems on which locks of whole files (`flock`) and those of SQLite (`fcntl`) do not see each other, by the magic
/// number of `statfs(2)`: ext, XFS, Btrfs, F2FS, ZFS, bcachefs, tmpfs, overlays. Those of a network keep one kind for both,
/// and SQLite would be locked out by us.
#[cfg(target_os = "linux")]
const KEEP_APART: [u32; 8] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x2fc1_2fc1, 0xca45_1a4e, 0x0102_1994, 0x794c_7630];

/// Holds `<database>.lock`, and the database itself where that is possible. The system lets go of them when the process
/// ends, however it ends; the file stays.
pub(super) struct Lock {
    _file: File,
    _database: Option<File>,
}

impl Lock {
    /// Locks the database that is at `path`, by whatever name or link it is called.
    pub(super) fn take(path: &Path) -> Result<Lock, Fault> {
        let real = path.canonicalize().map_err(|e| {
            Fault::Other(format!("database `{}` can't be found: {e}; configure another path", path.display()))
        })?;
        let mut name = real.into_os_string();
        name.push(".lock");
        let name = PathBuf::from(name);
        let refused = |e: std::io::Error| {
            Fault::Other(format!(
                "database `{}` can't be locked with `{}`: {e}; let this user write to its directory",
                path.display(),
                name.display()
            ))
        };
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&name);
        let mut file = open.map_err(refused)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(e)) => return Err(refused(e)),
            Err(TryLockError::WouldBlock) => return Err(taken(path, &name, &mut file)),
        }
        // For the text that a second server shows; on a full disk that text is less helpful.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        let database = hold(path)?;
        Ok(Lock { _file: file, _database: database })
    }
}

/// Locks the database file itself: it may have several names, as hard links and as the mounts of containers, each with a
/// `.lock` of its own. This comes before SQLite opens the file, and the lock goes after it has closed it, because closing
/// would let go of what SQLite has locked.
fn hold(path: &Path) -> Result<Option<File>, Fault> {
    let file = File::open(path).map_err(|e| {
        Fault::Other(format!("database `{}` can't be read: {e}; let this user read the file", path.display()))
    })?;
    if !keeps_apart(&file) {
        return Ok(None);
    }
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        // What can't be locked at all was no obstacle before.
        Err(TryLockError::Error(_)) => Ok(None),
        Err(TryLockError::WouldBlock) => Err(Fault::Other(format!(
            "database `{}` is in use by another server, which calls the same file by another name (a hard link, or the \
             mount of a container); stop that one, or configure another path",
            path.display()
        ))),
    }
}

#[cfg(target_os = "linux")]
fn keeps_apart(file: &File) -> bool {
    // Wherever the number is wider, its upper half says nothing.
    rustix::fs::fstatfs(file).is_ok_and(|system| KEEP_APART.contains(&(system.f_type as u32)))
}

#[cfg(not(target_os = "linux"))]
fn keeps_apart(_: &File) -> bool {
    false
}

fn taken(path: &Path, lock: &Path, file: &mut File) -> Fault {
    let mut pid = String::new();
    // The number is for people; without it the text is less helpful and still true.
    let read = file.rewind().and_then(|()| file.take(32).read_to_string(&mut pid));
    let process = match (read, pid.trim()) {
        (Ok(_), pid) if !pid.is_empty() => format!("process {pid}"),
        _ => "another process".to_owned(),
    };
    Fault::Other(format!(
        "database `{}` is in use by another server ({process} holds `{}`); stop that one, or configure another path",
        path.display(),
        lock.display()
    ))
}
