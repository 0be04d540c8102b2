//! What a start would stumble over, found without starting: everything that the configuration names is read, and nothing is
//! written.

use std::os::unix::net::SocketAddr;

use headsail_store::sqlite;

use crate::config::{Certificate, Policy, Settings};
use crate::derp_map::MapSource;
use crate::tls::{self, Certificates};
use crate::{dns, keys, policy_file};

/// Reads keys, certificate, policy, maps, records and database as a start would. Each sentence names a file that would
/// forbid it. Files that a start makes by itself may be missing.
pub fn rehearse(settings: &Settings) -> Vec<String> {
    let mut faults = Vec::new();
    let mut note = |outcome: Result<(), String>| faults.extend(outcome.err());
    let relay_key = settings.derp.server.as_ref().map(|relay| &relay.private_key_path);
    for path in std::iter::once(&settings.noise_private_key_path).chain(relay_key) {
        note(keys::find(path).map(drop).map_err(|e| e.to_string()));
    }
    if matches!(settings.certificate, Certificate::Files { .. }) {
        tls::install_provider();
        note(Certificates::open(&settings.certificate, &[], None).map(drop).map_err(|e| e.to_string()));
    }
    if let Policy::File(Some(path)) = &settings.policy {
        note(policy_file::first(path, &[]).map(drop));
    }
    note(MapSource::new(settings.derp.clone(), None).local().map(drop));
    if let Some(path) = &settings.dns.extra_records_path {
        note(dns::load_extra_records(path).map(drop));
    }
    let database = &settings.database.path;
    // An empty file is what a start makes of a database before anything else.
    if std::fs::metadata(database).is_ok_and(|found| found.len() > 0) {
        note(sqlite::check(database).map_err(|e| e.to_string()));
    }
    if let Err(error) = SocketAddr::from_pathname(&settings.unix_socket) {
        let path = settings.unix_socket.display();
        note(Err(format!("cannot open the socket `{path}`: {error}; set `unix_socket` to another path")));
    }
    faults
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
