//! Two servers on one database, and one that is killed, as real processes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a fixture that fails is a failed test")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use headsail_store::memory::MemoryStore;
use headsail_store::sqlite::{Options, SqliteStore};
use headsail_store::{Fault, Store};
use headsail_tailnet::actor::Actor;
use headsail_tailnet::change::{Change, Sequence};
use headsail_tailnet::commit::{Commit, Revision, Since};
use headsail_tailnet::model::settings::Settings;
use headsail_wire::time::Time;

const PATH: &str = "STORE_TEST_DATABASE";

fn commit(stored: Revision, changes: &[Change]) -> Commit {
    Commit::on(stored, Time::EPOCH, vec![(Actor::Server, changes.to_vec())])
}

/// The body of the other process, which is this program running only this test. It commits until it is killed.
#[test]
fn other_process() {
    let Some(path) = std::env::var_os(PATH).map(PathBuf::from) else { return };
    let mut store = SqliteStore::open(&path, Options::default()).unwrap();
    let mut revision = store.load().unwrap().revision;
    loop {
        let next = commit(revision, &[Change::NextId(Sequence::Nodes, revision.0 + 2)]);
        store.commit(&next).unwrap();
        revision = next.revision;
        println!("committed {revision}");
    }
}

fn start(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "other_process", "--nocapture", "--test-threads=1"])
        .env(PATH, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_server_releases_its_locks_and_keeps_its_commits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("headsail.db");
    let mut other = start(&path);
    let mut lines = BufReader::new(other.stdout.take().unwrap()).lines();
    let mut committed = 0;
    while committed < 100 {
        let line = lines.next().expect("the other process keeps committing").unwrap();
        if let Some(n) = line.strip_prefix("committed ") {
            committed = n.parse().unwrap();
        }
    }
    let refused = SqliteStore::open(&path, Options::default()).map(drop).unwrap_err().to_string();
    assert!(refused.contains(&format!("in use by another server (process {}", other.id())), "{refused}");
    assert!(refused.contains(&path.display().to_string()), "{refused}");
    let alias = dir.path().join("alias.db");
    std::fs::hard_link(&path, &alias).unwrap();
    let refused = SqliteStore::open(&alias, Options::default()).map(drop).unwrap_err().to_string();
    assert!(refused.contains("under a different name"), "{refused}");
    other.kill().unwrap();
    other.wait().unwrap();
    let last: u64 = lines
        .map_while(Result::ok)
        .filter_map(|l| l.strip_prefix("committed ")?.parse().ok())
        .last()
        .unwrap_or(committed);
    let mut store = SqliteStore::open(&path, Options::default()).unwrap();
    let loaded = store.load().unwrap();
    // One more may have been committed without being printed.
    assert!((last..=last + 1).contains(&loaded.revision.0), "{last} {loaded:?}");
    assert_eq!(loaded.changes, [Change::NextId(Sequence::Nodes, loaded.revision.0 + 1)]);
}

#[test]
fn a_memory_store_fails_on_request_and_recovers() {
    let store = MemoryStore::default();
    let mut clerk: Box<dyn Store> = Box::new(store.clone());
    let changes = [Change::NextId(Sequence::Users, 5), Change::Settings(Arc::new(Settings::basic()))];
    store.fail([Fault::Full("disk".into()), Fault::Busy("disk".into())]);
    let first = commit(Revision(0), &changes);
    assert_eq!(clerk.commit(&first), Err(Fault::Full("disk".into())));
    assert_eq!(clerk.ping(), Err(Fault::Busy("disk".into())));
    assert_eq!(clerk.load().unwrap().changes, []);
    assert_eq!(clerk.commit(&first), Ok(()));
    assert_eq!(clerk.commit(&first), Err(Fault::Conflict { commit: Revision(1), stored: Revision(1) }));
    assert_eq!(clerk.commit(&commit(Revision(0), &changes[1..])), Ok(()), "nothing to write");
    assert_eq!(store.clone().load().unwrap().changes, changes[..1]);
    assert_eq!(store.revision(), Revision(1));
    let written = commit(Revision(0), &changes[..1]);
    assert_eq!(clerk.since(Revision(0)), Ok(Since::Commits(vec![written])));
    store.forget_log();
    assert!(matches!(clerk.since(Revision(0)), Ok(Since::Rows(rows)) if rows.revision == Revision(1)));
}
