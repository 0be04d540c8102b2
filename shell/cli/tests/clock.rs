//! The built server while the system clock is wrong for a moment, and while its deadlines meet a full disk.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

#[allow(dead_code, reason = "other tests use more of it")]
mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit};
use serde_json::Value;
use support::preloaded::{Server, directory, library, with_node};

const CENTURY: i64 = 100 * 365 * 24 * 3600;
/// What the log says of a node whose key has expired.
const EXPIRED: &str = "node `web` (1) expired or logged out";

#[test]
fn a_clock_that_jumps_ahead_and_back_expires_nothing_and_leaves_no_trace() {
    let dir = directory("clock");
    let (library, shift) = (library(&dir, "tests/clock/shifted.c"), dir.join("shift"));
    let env = [("LD_PRELOAD", &*library), ("CLOCK_SHIFT", &*shift)];
    let mut server = Server::start(dir, &env, Stdio::piped());
    with_node(&server, 3600);
    std::fs::write(&shift, CENTURY.to_string()).unwrap();
    server.run("users create during");
    std::fs::write(&shift, "0").unwrap();
    server.run("users create after");

    let users: Value = serde_json::from_str(&server.run("users list -o json")).unwrap();
    let made: Vec<&str> = users.as_array().unwrap().iter().filter_map(|u| u["createdAt"].as_str()).collect();
    assert_eq!(made.len(), 3);
    assert!(made.iter().all(|at| at.starts_with("20")), "no century has passed: {made:?}");
    server.process.kill().unwrap();
    let mut log = String::new();
    server.process.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(!log.contains(EXPIRED), "{log}");
    for told in ["the system clock jumped by 3153", "the system clock is right again"] {
        assert!(log.contains(told), "{log}");
    }
}

#[test]
fn a_key_expires_while_the_disk_is_full() {
    let mut server = Server::start(directory("expiry"), &[], Stdio::piped());
    let lines = BufReader::new(server.process.stderr.take().unwrap()).lines();
    with_node(&server, 2);
    let full = Rlimit { current: Some(0), maximum: None };
    rustix::process::prlimit(Some(Pid::from_child(&server.process)), Resource::Fsize, full).unwrap();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
    let mut log = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Ok(line) = told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        log.push(line);
        if log.last().is_some_and(|line| line.contains(EXPIRED)) {
            assert!(log.iter().any(|line| line.contains("could not be saved")), "{log:?}");
            return;
        }
    }
    panic!("the node did not expire: {log:?}");
}
