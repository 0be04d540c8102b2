//! The dry run of `configtest`: reads everything that the configuration refers to, as startup would, but writes
//! nothing.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};

use headsail_store::sqlite;
use rustix::fs::Access;

use crate::config::{Certificate, Config, Policy};
use crate::derp_map::MapSource;
use crate::system::keys;
use crate::tls::{self, Certificates};
use crate::{dns, policy_file};

/// Reads keys, certificate, policy, DERP maps, DNS records and database as startup would, and returns what would
/// prevent it: one message per file. Files that startup creates may be missing if this user may create them.
pub fn rehearse(settings: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    let mut note = |outcome: Result<(), String>| problems.extend(outcome.err());
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
    // Startup accepts an empty file: it is a database that was just created.
    if std::fs::metadata(database).is_ok_and(|found| found.len() > 0) {
        note(sqlite::check(database).map_err(|e| e.to_string()));
        let writable = rustix::fs::access(database, Access::WRITE_OK);
        note(writable.map_err(|e| {
            let path = database.display();
            format!(
                "cannot write to the database `{path}`: {e}; give this user write access to the file and its directory"
            )
        }));
    }
    if let Err(error) = SocketAddr::from_pathname(&settings.unix_socket) {
        let path = settings.unix_socket.display();
        note(Err(format!("cannot open the socket `{path}`: {error}; set `unix_socket` to another path")));
    }
    note(database_has_a_directory(settings));
    problems.extend(unwritable(settings, may_write));
    problems
}

fn key_files(settings: &Config) -> impl Iterator<Item = &PathBuf> {
    let relay_key = settings.derp.server.as_ref().map(|relay| &relay.private_key_path);
    std::iter::once(&settings.noise_private_key_path).chain(relay_key)
}

/// Startup creates missing directories for everything but the database.
fn database_has_a_directory(settings: &Config) -> Result<(), String> {
    let dir = parent(&settings.database.path);
    let mut created =
        std::iter::once(settings.data_dir.as_path()).chain(key_files(settings).map(|key| parent(key)));
    if dir.exists() || created.any(|created| created.starts_with(dir)) {
        return Ok(());
    }
    let path = settings.database.path.display();
    Err(format!("the directory of the database `{path}` does not exist: create `{}`", dir.display()))
}

/// A message for each directory that startup has to write to but this user may not, naming the files that belong there.
fn unwritable(settings: &Config, may_write: impl Fn(&Path) -> io::Result<()>) -> Vec<String> {
    let mut places: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    for (what, path, place) in written(settings) {
        places.entry(nearest_existing(&place)).or_default().push(format!("the {what} `{}`", path.display()));
    }
    let problem = |(place, files): (PathBuf, Vec<String>)| {
        let why = may_write(&place).err()?;
        let (place, files) = (place.display(), files.join(", "));
        Some(format!(
            "cannot write to `{place}`: {why}; startup creates {files} there: give this user write access, or configure \
             another path"
        ))
    };
    places.into_iter().filter_map(problem).collect()
}

/// What startup creates or writes: a description, its path, and the directory that has to be writable for it.
fn written(settings: &Config) -> Vec<(&'static str, &Path, PathBuf)> {
    let mut written = Vec::new();
    if !settings.data_dir.is_dir() {
        written.push(("data directory", settings.data_dir.as_path(), settings.data_dir.clone()));
    }
    let mut within = |what, path, dir: &Path| written.push((what, path, dir.to_owned()));
    for key in key_files(settings).filter(|key| matches!(keys::find(key), Ok(None))) {
        within("key file", key.as_path(), parent(key));
    }
    // An existing database needs it too, for its lock and log files, which are beside the target if the path is a
    // symbolic link.
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

/// The path itself, or its nearest ancestor that exists.
fn nearest_existing(path: &Path) -> PathBuf {
    let exists = |path: &&Path| path.symlink_metadata().is_ok();
    path.ancestors().find(exists).unwrap_or(Path::new(".")).to_owned()
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether this user may create files in the directory. Only checks permissions, writes nothing.
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

    fn settings(dir: &Path) -> Config {
        Config::embedded(dir, &Env::new()).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn files_that_startup_creates_may_be_missing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(rehearse(&settings(dir.path())), Vec::<String>::new());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is written");
    }

    #[test]
    fn files_that_cannot_be_created_are_listed_with_their_nearest_existing_directory() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("a/b");
        let refused = |_: &Path| Err(io::ErrorKind::PermissionDenied.into());
        let problems = unwritable(&settings(&missing), refused);
        let [problem] = problems.as_slice() else { panic!("{problems:#?}") };
        assert!(
            problem.starts_with(&format!("cannot write to `{}`: permission denied", dir.path().display()))
        );
        for what in ["data directory", "key file", "database", "self-signed certificate", "socket"] {
            assert!(problem.contains(&format!("the {what} `{}", missing.display())), "{what}: {problem}");
        }
        // Existing files need no writable directory, except for the database and the socket.
        let there = settings(dir.path());
        for key in key_files(&there) {
            keys::load_or_create(key).unwrap_or_else(|error| panic!("{error}"));
        }
        let asked = |place: &Path| if place == dir.path() { refused(place) } else { Ok(()) };
        let problems = unwritable(&there, asked);
        assert!(
            !problems.concat().contains("key file") && problems.concat().contains("socket"),
            "{problems:#?}"
        );
    }

    #[test]
    fn missing_directories_and_files_in_their_place_prevent_startup() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let mut s = settings(dir.path());
        s.data_dir = file.join("data");
        s.unix_socket = file.join("socket");
        s.database.path = dir.path().join("missing/db.sqlite");
        let problems = rehearse(&s);
        let [database, place] = problems.as_slice() else { panic!("{problems:#?}") };
        assert!(
            database.contains("does not exist: create `") && database.contains("missing/db.sqlite"),
            "{database}"
        );
        assert!(
            place.starts_with(&format!("cannot write to `{}`: not a directory", file.display())),
            "{place}"
        );
        // Unless the data directory is about to be created above it.
        s.data_dir = dir.path().join("missing/data");
        s.unix_socket = dir.path().join("socket");
        assert_eq!(rehearse(&s), Vec::<String>::new());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is written");
    }

    #[test]
    fn every_file_that_prevents_startup_is_listed() {
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
        let problems = rehearse(&s);
        let named = ["key file", "broken", "no.hujson", "no.yaml", "DNS records", "database", "unix_socket"];
        assert_eq!(problems.len(), named.len(), "{problems:#?}");
        for (problem, word) in problems.iter().zip(named) {
            assert!(problem.contains(word), "{word}: {problem}");
        }
    }
}
