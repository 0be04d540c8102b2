//! One server for one database.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::Fault;

/// Holds `<database>.lock`. The system lets go of it when the process ends, however it ends; the file stays.
pub(super) struct Lock {
    _file: File,
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
        Ok(Lock { _file: file })
    }
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
