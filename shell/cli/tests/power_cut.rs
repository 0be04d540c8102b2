//! A day of the built server on a disk that keeps only what was synced. After every command the power goes: a server that
//! starts on what is left knows everything that the first one has acknowledged.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

#[allow(dead_code, reason = "other tests use more of it")]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_headsail");

/// A server with its directory, killed at the end.
struct Server {
    dir: PathBuf,
    process: Child,
}

impl Server {
    fn start(dir: PathBuf, disk: &[(&str, &Path)]) -> Server {
        let at = dir.display();
        let config = format!(
            "server_url: http://127.0.0.1:8080\nlisten_addr: 127.0.0.1:0\nnoise: {{private_key_path: {at}/noise.key}}\n\
             prefixes: {{v4: 100.64.0.0/10, v6: 'fd7a:115c:a1e0::/48'}}\n\
             database: {{type: sqlite, sqlite: {{path: {at}/db.sqlite, wal_autocheckpoint: 20}}}}\n\
             dns: {{magic_dns: true, base_domain: mesh.test, override_local_dns: false}}\n\
             policy: {{mode: database}}\nunix_socket: {at}/s.sock\n"
        );
        std::fs::write(dir.join("config.yaml"), config).unwrap();
        let process = Command::new(PROGRAM)
            .args(["serve", "--config"])
            .arg(dir.join("config.yaml"))
            .env_clear()
            .envs(disk.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Server { dir, process };
        // `health` waits for the socket to appear.
        server.run("health");
        server
    }

    fn run(&self, words: &str) -> String {
        let words = format!("--config {} {words}", self.dir.join("config.yaml").display());
        support::run(Path::new(PROGRAM), &self.dir, &words).ok()
    }

    /// Everything that an administrator sees of what is stored.
    fn knows(&self) -> Vec<String> {
        let lists = ["users list", "preauthkeys list", "apikeys list", "nodes list", "policy get"];
        lists.map(|list| self.run(&format!("{list} -o json"))).to_vec()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn directory(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("headsail-power-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

#[test]
fn a_server_that_starts_after_a_power_cut_knows_all_that_was_acknowledged() {
    let (dir, synced) = (directory("server"), directory("synced"));
    let library = synced.join(".synced_only.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../store/tests/power_cut/synced_only.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl");
    assert!(compiler.status().expect("a C compiler builds SQLite, so it is there").success());
    let database = dir.join("db.sqlite");
    let disk = [("LD_PRELOAD", &*library), ("SYNCED_FROM", &*database), ("SYNCED_TO", &*synced)];
    let server = Server::start(dir, &disk);

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
        let next = Server::start(left, &[]);
        assert_eq!(next.knows(), server.knows(), "after `{command}` and a power cut");
    }
    std::fs::remove_dir_all(&synced).unwrap();
}
