//! Locks that keep a second server from using the same database.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::Fault;

/// File systems on which locks of whole files (`flock`) are independent of SQLite's locks (`fcntl`), by the magic number of
/// `statfs(2)`: ext, XFS, Btrfs, F2FS, ZFS, bcachefs, tmpfs, overlayfs. Network file systems treat both as the same kind, so our
/// lock would lock SQLite out.
#[cfg(target_os = "linux")]
const KEEP_APART: [u32; 8] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x2fc1_2fc1, 0xca45_1a4e, 0x0102_1994, 0x794c_7630];

/// Locks on `<database>.lock` and, if possible, on the database itself. The operating system releases them however the
/// process ends. The lock file stays.
pub(super) struct Lock {
    _file: File,
    _database: Option<File>,
}

impl Lock {
    /// Locks the database at `path`, resolving symbolic links.
    pub(super) fn take(path: &Path) -> Result<Lock, Fault> {
        let real = path.canonicalize().map_err(|e| {
            Fault::Other(format!("cannot find database `{}`: {e}; configure another path", path.display()))
        })?;
        let mut name = real.into_os_string();
        name.push(".lock");
        let name = PathBuf::from(name);
        let refused = |e: std::io::Error| {
            Fault::Other(format!(
                "cannot lock database `{}` with `{}`: {e}; let this user write to its directory",
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
        // A second server shows this number. If the disk is full, its message is only less specific.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        let database = hold(path)?;
        Ok(Lock { _file: file, _database: database })
    }
}

/// Locks the database file itself, because hard links and container mounts can give it several names, each with its own
/// `.lock`. The file has to be opened before SQLite opens it and closed after SQLite has closed it: closing it would release
/// SQLite's own locks.
fn hold(path: &Path) -> Result<Option<File>, Fault> {
    let file = File::open(path).map_err(|e| {
        Fault::Other(format!("cannot read database `{}`: {e}; let this user read the file", path.display()))
    })?;
    if !keeps_apart(&file) {
        return Ok(None);
    }
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        // Without support for locks, `<database>.lock` has to be enough.
        Err(TryLockError::Error(_)) => Ok(None),
        Err(TryLockError::WouldBlock) => Err(Fault::Other(format!(
            "database `{}` is in use by another server under a different name (a hard link, or a container mount); stop \
             that server, or configure another path",
            path.display()
        ))),
    }
}

#[cfg(target_os = "linux")]
fn keeps_apart(file: &File) -> bool {
    // The type of the field differs between architectures; its low 32 bits are the magic number.
    rustix::fs::fstatfs(file).is_ok_and(|system| KEEP_APART.contains(&(system.f_type as u32)))
}

#[cfg(not(target_os = "linux"))]
fn keeps_apart(_: &File) -> bool {
    false
}

fn taken(path: &Path, lock: &Path, file: &mut File) -> Fault {
    let mut pid = String::new();
    // Without the number, the message is only less specific.
    let read = file.rewind().and_then(|()| file.take(32).read_to_string(&mut pid));
    let process = match (read, pid.trim()) {
        (Ok(_), pid) if !pid.is_empty() => format!("process {pid}"),
        _ => "another process".to_owned(),
    };
    Fault::Other(format!(
        "database `{}` is in use by another server ({process} holds `{}`); stop that server, or configure another path",
        path.display(),
        lock.display()
    ))
}
