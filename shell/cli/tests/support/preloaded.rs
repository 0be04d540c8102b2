//! The built server over a library that stands between it and the system.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use headsail_wire::time::Time;

const PROGRAM: &str = env!("CARGO_BIN_EXE_headsail");

/// A server with its directory, killed at the end.
pub struct Server {
    pub dir: PathBuf,
    pub process: Child,
}

impl Server {
    /// `env` is all of its environment.
    pub fn start(dir: PathBuf, env: &[(&str, &Path)], log: Stdio) -> Server {
        let at = dir.display();
        let config = format!(
            "server_url: http://127.0.0.1:8080\nlisten_addr: 127.0.0.1:0\nnoise: {{private_key_path: {at}/noise.key}}\n\
             prefixes: {{v4: 100.64.0.0/10, v6: 'fd7a:115c:a1e0::/48'}}\n\
             database: {{type: sqlite, sqlite: {{path: {at}/db.sqlite, wal_autocheckpoint: 20}}}}\n\
             dns: {{magic_dns: true, base_domain: mesh.test, override_local_dns: false}}\n\
             policy: {{mode: database}}\nunix_socket: {at}/s.sock\n"
        );
        std::fs::write(dir.join("config.yaml"), config).unwrap();
        // To a program that ignores SIGXFSZ, files that must not grow look like a full disk.
        let process = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", PROGRAM, "serve", "--config"])
            .arg(dir.join("config.yaml"))
            .env_clear()
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Server { dir, process };
        // `health` waits for the socket to appear.
        server.run("health");
        server
    }

    pub fn run(&self, words: &str) -> String {
        let words = format!("--config {} {words}", self.dir.join("config.yaml").display());
        super::run(Path::new(PROGRAM), &self.dir, &words).ok()
    }
}

/// Creates user `alice` with node 1, whose key expires some seconds from now.
pub fn with_node(server: &Server, seconds: i64) {
    let login = format!("hskey-authreq-{}", "a".repeat(24));
    server.run("users create alice");
    server.run(&format!("debug create-node --name web --user alice --key {login}"));
    server.run(&format!("auth register --user alice --auth-id {login}"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
    server.run(&format!("nodes expire -i 1 --expiry {}", Time::from_secs(now + seconds)));
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

pub fn directory(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("headsail-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Builds a library from a C source, which is beside the tests.
pub fn library(dir: &Path, source: &str) -> PathBuf {
    let library = dir.join(".preloaded.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl");
    assert!(compiler.status().expect("a C compiler builds SQLite, so it is there").success());
    library
}
