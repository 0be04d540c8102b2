//! What was acknowledged survives a power cut: another process commits, over a disk that keeps only what was synced
//! (`power_cut/synced_only.c`), and after every single commit the power goes.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

mod rows;

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use headsail_store::Store;
use headsail_store::sqlite::{Options, SqliteStore};
use headsail_tailnet::actor::Actor;
use headsail_tailnet::change::Change;
use headsail_tailnet::commit::{Commit, Revision};
use headsail_tailnet::model::node::{Presence, StreamNo};
use headsail_tailnet::model::settings::Settings;
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::ids::{ApiKeyId, AuthKeyId, NodeId};
use headsail_wire::time::Time;

use rows::{api_key, auth_key, node, user};

const PATH: &str = "STORE_TEST_POWER_CUT";
/// Commits of the day. The write-ahead log is written back many times meanwhile.
const COMMITS: u64 = 160;
/// Small, so that power cuts fall before, between and after write-backs.
const PAGES: u32 = 12;

fn options(write_ahead_log: bool) -> Options {
    Options { write_ahead_log, wal_autocheckpoint: PAGES, ..Options::default() }
}

/// The `n`th commit, from 1 on: keys are created, used and revoked, nodes join, and some only come and go.
fn commit(n: u64) -> Commit {
    let round = n / 8 + 1;
    let changes = match n % 8 {
        1 => vec![user(round)],
        2 => vec![auth_key(round, false), api_key(round, None)],
        // The machine that uses the key, and the key that is used up.
        3 => vec![node(round), auth_key(round, true)],
        6 => vec![api_key(round, Some(Time::EPOCH))],
        7 => vec![Change::AuthKeyGone(AuthKeyId::new(round).unwrap())],
        0 => vec![Change::ApiKeyGone(ApiKeyId::new(round - 1).unwrap())],
        _ => vec![Change::Presence(
            NodeId::new(round).unwrap(),
            Presence::Online { since: Time::EPOCH, stream: StreamNo(n) },
        )],
    };
    Commit::on(Revision(n - 1), Time::from_secs(n.cast_signed()), vec![(Actor::Server, changes)])
}

/// The other process: this program again, with this test alone. It commits whenever it is told to.
#[test]
fn other_process() {
    let Some(path) = std::env::var_os(PATH).map(PathBuf::from) else { return };
    let write_ahead_log = !path.ends_with("journal.db");
    let mut store = SqliteStore::open(&path, options(write_ahead_log)).unwrap();
    for (n, line) in (1..=COMMITS).zip(std::io::stdin().lines()) {
        line.unwrap();
        store.commit(&commit(n)).unwrap();
        println!("committed {n}");
    }
}

struct Other {
    process: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Other {
    fn start(database: &Path, synced: &Path, library: &Path) -> Other {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "other_process", "--nocapture", "--test-threads=1"])
            .env(PATH, database)
            .env("LD_PRELOAD", library)
            .env("SYNCED_FROM", database)
            .env("SYNCED_TO", synced)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (orders, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Other { process, orders, answers: BufReader::new(answers).lines() }
    }

    fn commit(&mut self, n: u64) {
        writeln!(self.orders).unwrap();
        let said = format!("committed {n}");
        assert!(self.answers.by_ref().any(|line| line.unwrap().ends_with(&said)), "commit {n} failed");
    }
}

fn library(dir: &Path) -> PathBuf {
    let library = dir.join("synced_only.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/power_cut/synced_only.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl");
    assert!(compiler.status().expect("a C compiler builds SQLite, so it is there").success());
    library
}

/// How far the database is that a power cut leaves now; its rows are those of that commit.
fn after_a_power_cut(synced: &Path, name: &str, write_ahead_log: bool) -> u64 {
    let disk = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(synced).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), disk.path().join(file.file_name())).unwrap();
    }
    let mut store = SqliteStore::open(&disk.path().join(name), options(write_ahead_log)).unwrap();
    let loaded = store.load().unwrap();
    let mut expected = Tailnet::empty(Arc::new(Settings::basic()));
    (1..=loaded.revision.0).for_each(|n| expected.apply_commit(&commit(n)));
    let left = Tailnet::of(expected.settings().clone(), &loaded);
    assert_eq!(left.dump(), expected.dump(), "at revision {}", loaded.revision);
    loaded.revision.0
}

/// A day with a power cut after every commit. Returns how often volatile facts were lost.
fn day(name: &str, write_ahead_log: bool) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let synced = dir.path().join("synced");
    std::fs::create_dir(&synced).unwrap();
    let mut other = Other::start(&dir.path().join(name), &synced, &library(dir.path()));
    let (mut durable, mut lost) = (0, 0);
    for n in 1..=COMMITS {
        other.commit(n);
        if commit(n).is_durable() {
            durable = n;
        }
        let left = after_a_power_cut(&synced, name, write_ahead_log);
        assert!(left >= durable, "commit {durable} was acknowledged, but a power cut leaves {left}");
        lost += usize::from(left < n);
    }
    other.process.kill().unwrap();
    other.process.wait().unwrap();
    lost
}

#[test]
fn acknowledged_changes_survive_a_power_cut_after_every_commit() {
    let lost = day("headsail.db", true);
    // Else the disk would be one that forgets nothing, or presence would cost a sync each time.
    assert!(lost > 0, "volatile facts wait for the next sync");
}

#[test]
fn acknowledged_changes_survive_a_power_cut_without_a_write_ahead_log() {
    day("journal.db", false);
}
