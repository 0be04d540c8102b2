//! A day of the built server on a disk that keeps only what was synced. After every command the power goes: a server that
//! starts on what is left knows everything that the first one has acknowledged.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

#[allow(dead_code, reason = "other tests use more of it")]
mod support;

use std::process::Stdio;

use support::preloaded::{Server, directory, library};

/// Everything that an administrator sees of what is stored.
fn knowledge(server: &Server) -> Vec<String> {
    let lists = ["users list", "preauthkeys list", "apikeys list", "nodes list", "policy get"];
    lists.map(|list| server.run(&format!("{list} -o json"))).to_vec()
}

#[test]
fn a_server_that_starts_after_a_power_cut_knows_all_that_was_acknowledged() {
    let (dir, synced) = (directory("server"), directory("synced"));
    let library = library(&synced, "../store/tests/power_cut/synced_only.c");
    let database = dir.join("db.sqlite");
    let disk = [("LD_PRELOAD", &*library), ("SYNCED_FROM", &*database), ("SYNCED_TO", &*synced)];
    let server = Server::start(dir, &disk, Stdio::null());

    let policy = server.dir.join("policy.hujson");
    std::fs::write(&policy, "{\"acls\": []}\n").unwrap();
    let login = format!("hskey-authreq-{}", "a".repeat(24));
    let day = [
        format!("policy set -f {}", policy.display()),
        "users create alice".to_owned(),
        "users create bob".to_owned(),
        "apikeys create".to_owned(),
        "preauthkeys create --user 1".to_owned(),
        format!("debug create-node --name web --user alice --key {login}"),
        format!("auth register --user alice --auth-id {login}"),
        "apikeys expire --id 1".to_owned(),
        "preauthkeys expire --id 1".to_owned(),
        "nodes rename -i 1 www".to_owned(),
        "nodes expire -i 1".to_owned(),
        "users rename -i 2 --new-name carol".to_owned(),
        "nodes delete -i 1 --force".to_owned(),
        "users destroy -i 2 --force".to_owned(),
    ];
    for (number, command) in day.iter().enumerate() {
        server.run(command);
        let left = directory(&format!("left-{number}"));
        for file in std::fs::read_dir(&synced).unwrap().map(Result::unwrap) {
            if file.file_name().to_string_lossy().starts_with("db.sqlite") {
                std::fs::copy(file.path(), left.join(file.file_name())).unwrap();
            }
        }
        let next = Server::start(left, &[], Stdio::null());
        assert_eq!(knowledge(&next), knowledge(&server), "after `{command}` and a power cut");
    }
    std::fs::remove_dir_all(&synced).unwrap();
}
