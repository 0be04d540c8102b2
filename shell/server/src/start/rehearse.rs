//! What a start would stumble over, found without starting: everything that the configuration names is read, and nothing is
//! written.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};

use headsail_store::sqlite;
use rustix::fs::Access;

use crate::config::{Certificate, Policy, Settings};
use crate::derp_map::MapSource;
use crate::system::keys;
use crate::tls::{self, Certificates};
use crate::{dns, policy_file};

/// Reads keys, certificate, policy, maps, records and database as a start would. Each sentence names a file that would
/// forbid it. Files that a start makes by itself may be missing where this user may make them.
pub fn rehearse(settings: &Settings) -> Vec<String> {
    let mut faults = Vec::new();
    let mut note = |outcome: Result<(), String>| faults.extend(outcome.err());
    for path in key_files(settings) {
        note(keys::find(path).map(drop).map_err(|e| e.to_string()));
    }
    if matches!(settings.certificate, Certificate::Files { .. }) {
        tls::install_provider();
        note(Certificates::open(&settings.certificate, &[], None).map(drop).map_err(|e| e.to_string()));
    }
    if let Policy::File(Some(path)) = &settings.policy {
        note(policy_file::first(path, &settings.policy_domains).map(drop));
    }
    note(MapSource::new(settings.derp.clone(), None).local().map(drop));
    if let Some(path) = &settings.dns.extra_records_path {
        note(dns::load_extra_records(path).map(drop));
    }
    let database = &settings.database.path;
    // An empty file is what a start makes of a database before anything else.
    if std::fs::metadata(database).is_ok_and(|found| found.len() > 0) {
        note(sqlite::check(database).map_err(|e| e.to_string()));
        let writable = rustix::fs::access(database, Access::WRITE_OK);
        note(writable.map_err(|e| {
            let path = database.display();
            format!(
                "cannot write the database `{path}`: {e}; let this user write to the file and its directory"
            )
        }));
    }
    if let Err(error) = SocketAddr::from_pathname(&settings.unix_socket) {
        let path = settings.unix_socket.display();
        note(Err(format!("cannot open the socket `{path}`: {error}; set `unix_socket` to another path")));
    }
    note(database_has_a_directory(settings));
    faults.extend(unwritable(settings, may_write));
    faults
}

fn key_files(settings: &Settings) -> impl Iterator<Item = &PathBuf> {
    let relay_key = settings.derp.server.as_ref().map(|relay| &relay.private_key_path);
    std::iter::once(&settings.noise_private_key_path).chain(relay_key)
}

/// A start makes the directories of everything but the database.
fn database_has_a_directory(settings: &Settings) -> Result<(), String> {
    let dir = parent(&settings.database.path);
    let made =
        || std::iter::once(settings.data_dir.as_path()).chain(key_files(settings).map(|key| parent(key)));
    if dir.exists() || made().any(|made| made.starts_with(dir)) {
        return Ok(());
    }
    let path = settings.database.path.display();
    Err(format!("the directory of the database `{path}` is missing: make `{}`", dir.display()))
}

/// Where this user may not write and a start would have to: a sentence for each directory, with all that is for there.
fn unwritable(settings: &Settings, may_write: impl Fn(&Path) -> io::Result<()>) -> Vec<String> {
    let mut places: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    for (what, path, place) in written(settings) {
        places.entry(standing(&place)).or_default().push(format!("the {what} `{}`", path.display()));
    }
    let refusal = |(place, made): (PathBuf, Vec<String>)| {
        let why = may_write(&place).err()?;
        let (place, made) = (place.display(), made.join(", "));
        Some(format!(
            "cannot write to `{place}`: {why}; a start needs that for {made}: let this user write there, or configure \
             another path"
        ))
    };
    places.into_iter().filter_map(refusal).collect()
}

/// What a start makes or writes: what it is, its path, and the directory that has to be writable for that.
fn written(settings: &Settings) -> Vec<(&'static str, &Path, PathBuf)> {
    let mut written = Vec::new();
    if !settings.data_dir.is_dir() {
        written.push(("data directory", settings.data_dir.as_path(), settings.data_dir.clone()));
    }
    let mut within = |what, path, dir: &Path| written.push((what, path, dir.to_owned()));
    for key in key_files(settings).filter(|key| matches!(keys::find(key), Ok(None))) {
        within("key file", key.as_path(), parent(key));
    }
    // A lock and a log lie beside a database that is there, too, and beside the file itself where its name is a link.
    let database = &settings.database.path;
    within("database", database, parent(&database.canonicalize().unwrap_or_else(|_| database.clone())));
    let tls = settings.listeners.tls.is_some() || settings.listeners.http_offers_tls;
    if let Certificate::SelfSigned { cert, key } = &settings.certificate
        && tls
        && !(cert.exists() && key.exists())
    {
        within("self-signed certificate", cert, parent(cert));
    }
    within("socket", &settings.unix_socket, parent(&settings.unix_socket));
    written
}

/// The directory itself, or the nearest one above it that is there.
fn standing(path: &Path) -> PathBuf {
    let here = |path: &&Path| path.symlink_metadata().is_ok();
    path.ancestors().find(here).unwrap_or(Path::new(".")).to_owned()
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether the system would let this user make something in the directory. It is only asked.
fn may_write(dir: &Path) -> io::Result<()> {
    if !std::fs::metadata(dir)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK)?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Env;

    fn settings(dir: &Path) -> Settings {
        Settings::embedded(dir, &Env::new()).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn what_a_start_would_make_may_be_missing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(rehearse(&settings(dir.path())), Vec::<String>::new());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is written");
    }

    #[test]
    fn what_a_start_may_not_make_is_named_with_the_directory_above() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("a/b");
        let refused = |_: &Path| Err(io::ErrorKind::PermissionDenied.into());
        let faults = unwritable(&settings(&missing), refused);
        let [fault] = faults.as_slice() else { panic!("{faults:#?}") };
        assert!(fault.starts_with(&format!("cannot write to `{}`: permission denied", dir.path().display())));
        for made in ["data directory", "key file", "database", "self-signed certificate", "socket"] {
            assert!(fault.contains(&format!("the {made} `{}", missing.display())), "{made}: {fault}");
        }
        // What is there already needs no place, but for the database and the socket.
        let there = settings(dir.path());
        for key in key_files(&there) {
            keys::load_or_create(key).unwrap_or_else(|error| panic!("{error}"));
        }
        let asked = |place: &Path| if place == dir.path() { refused(place) } else { Ok(()) };
        let faults = unwritable(&there, asked);
        assert!(!faults.concat().contains("key file") && faults.concat().contains("socket"), "{faults:#?}");
    }

    #[test]
    fn files_where_directories_should_be_and_missing_ones_forbid_a_start() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let mut s = settings(dir.path());
        s.data_dir = file.join("data");
        s.unix_socket = file.join("socket");
        s.database.path = dir.path().join("missing/db.sqlite");
        let faults = rehearse(&s);
        let [database, place] = faults.as_slice() else { panic!("{faults:#?}") };
        assert!(
            database.contains("is missing: make `") && database.contains("missing/db.sqlite"),
            "{database}"
        );
        assert!(
            place.starts_with(&format!("cannot write to `{}`: not a directory", file.display())),
            "{place}"
        );
        // Unless the data directory is there to be made.
        s.data_dir = dir.path().join("missing/data");
        s.unix_socket = dir.path().join("socket");
        assert_eq!(rehearse(&s), Vec::<String>::new());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is written");
    }

    #[test]
    fn every_file_that_would_forbid_a_start_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let broken = dir.path().join("broken");
        std::fs::write(&broken, "{ garbage").unwrap();
        let mut s = settings(dir.path());
        s.noise_private_key_path.clone_from(&broken);
        s.certificate = Certificate::Files { cert: broken.clone(), key: dir.path().join("no.key") };
        s.policy = Policy::File(Some(dir.path().join("no.hujson")));
        s.derp.paths = vec![dir.path().join("no.yaml")];
        s.dns.extra_records_path = Some(broken.clone());
        s.database.path.clone_from(&broken);
        s.unix_socket = dir.path().join("s".repeat(200));
        let faults = rehearse(&s);
        let named = ["key file", "broken", "no.hujson", "no.yaml", "DNS records", "database", "unix_socket"];
        assert_eq!(faults.len(), named.len(), "{faults:#?}");
        for (fault, word) in faults.iter().zip(named) {
            assert!(fault.contains(word), "{word}: {fault}");
        }
    }
}
