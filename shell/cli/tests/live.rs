//! The built program end to end: a server, and the commands that administer it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit};
use serde_json::Value;

use support::Outcome;

const PROGRAM: &str = env!("CARGO_BIN_EXE_headsail");

/// A configured installation with its own directory.
struct Installation {
    dir: PathBuf,
    server: Option<Child>,
}

impl Installation {
    fn new(name: &str) -> Installation {
        let dir = std::env::temp_dir().join(format!("headsail-live-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let at = dir.display();
        let config = format!(
            "server_url: http://127.0.0.1:8080\nlisten_addr: 127.0.0.1:0\nnoise: {{private_key_path: {at}/noise.key}}\n\
             prefixes: {{v4: 100.64.0.0/10, v6: 'fd7a:115c:a1e0::/48'}}\n\
             database: {{type: sqlite, sqlite: {{path: {at}/db.sqlite}}}}\n\
             dns: {{magic_dns: true, base_domain: mesh.test, override_local_dns: false}}\n\
             policy: {{mode: database}}\nunix_socket: {at}/s.sock\n"
        );
        std::fs::write(dir.join("config.yaml"), config).unwrap();
        Installation { dir, server: None }
    }

    fn start(&mut self) {
        self.start_as(Command::new(PROGRAM).stderr(Stdio::null()));
    }

    /// Starts the given program, whose arguments and stderr the caller may have set.
    fn start_as(&mut self, program: &mut Command) {
        let server = program
            .args(["serve", "--config"])
            .arg(self.dir.join("config.yaml"))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        self.server = Some(server.unwrap());
        // `health` waits for the socket to appear.
        self.run("health").ok();
    }

    /// Stops the server with SIGTERM and waits for its graceful shutdown.
    fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let asked = Command::new("kill").arg(server.id().to_string()).status();
            assert!(asked.unwrap().success());
            assert!(server.wait().unwrap().success());
        }
    }

    fn run(&self, words: &str) -> Outcome {
        let words = format!("--config {} {words}", self.dir.join("config.yaml").display());
        support::run(Path::new(PROGRAM), &self.dir, &words)
    }

    fn json(&self, words: &str) -> Value {
        serde_json::from_str(&self.run(&format!("{words} -o json")).ok()).unwrap()
    }

    /// Writes this policy to a file and returns its path.
    fn policy(&self, text: &str) -> String {
        let file = self.dir.join("policy.hujson");
        std::fs::write(&file, text).unwrap();
        file.display().to_string()
    }

    /// Registers a node of alice that advertises a route.
    fn with_router(&self) {
        self.run("users create alice").ok();
        let id = format!("hskey-authreq-{}", "a".repeat(24));
        let node = format!("debug create-node --name router --user alice --key {id} --route 192.168.1.0/24");
        let made = self.json(&node);
        let zero = "0001-01-01T00:00:00Z";
        assert_eq!([&made["createdAt"], &made["expiry"], &made["lastSeen"]], [zero; 3], "as the API has it");
        assert_eq!(
            self.run(&format!("auth register --user alice --auth-id {id}")).ok(),
            "Node `router` registered.\nOwner: alice\nRoutes that are not approved: 192.168.1.0/24\n"
        );
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

const POLICY: &str = r#"{
  "tagOwners": {"tag:router": ["alice@"]},
  "autoApprovers": {"routes": {"192.168.0.0/16": ["tag:router"]}},
  "acls": [{"action": "accept", "src": ["alice@"], "dst": ["tag:router:22"]}],
}
"#;

#[test]
fn the_commands_of_headscales_routing_guide_work_on_a_real_server() {
    let mut here = Installation::new("guide");
    here.start();
    here.with_router();
    let id = here.json("routes list")[0]["id"].as_str().unwrap().to_owned();
    let enabled = here.run(&format!("routes enable --route-id {id}")).ok();
    assert_eq!(enabled, format!("Route {id} (192.168.1.0/24 of `router`) is approved.\n"));
    assert_eq!(here.json("routes list")[0]["enabled"], true);
    here.run(&format!("routes disable -r {id}")).ok();
    assert_eq!(here.json("nodes list-routes")[0]["approvedRoutes"], serde_json::json!([]));

    here.run(&format!("policy set -f {}", here.policy(POLICY))).ok();
    here.run("nodes tag --identifier 1 --tags tag:router").ok();
    let node = here.json("nodes list")[0].clone();
    assert_eq!(node["tags"], serde_json::json!(["tag:router"]));
    assert_eq!(
        node["approvedRoutes"],
        serde_json::json!(["192.168.1.0/24"]),
        "the tag's routes are approved"
    );
    assert!(here.run("nodes list").ok().contains("tagged-devices"));
    assert!(here.run("nodes tag -i 1 -t tag:other").failed().contains("tag:other"));
}

#[test]
fn policies_are_checked_explained_previewed_and_survive_a_restart() {
    let mut here = Installation::new("policy");
    here.start();
    here.with_router();
    let file = here.policy(POLICY);
    assert_eq!(here.run(&format!("policy check -f {file}")).ok(), "The policy is valid.\n");
    here.run(&format!("policy preview -f {file}")).ok();
    here.run(&format!("policy set -f {file}")).ok();
    assert_eq!(here.run("policy get").ok(), POLICY);
    here.run("nodes tag -i router -t tag:router").ok();
    let yes = here.run("policy explain alice@ router:22").ok();
    assert!(yes.starts_with("yes: ") && yes.contains("acls[0]"), "{yes}");
    for alice in ["alice", "1", "alice@"] {
        let yes = here.run(&format!("policy explain {alice} router:22")).ok();
        assert!(alice == "1" || yes.starts_with("yes: "), "{alice}: {yes}");
    }
    assert!(here.run("policy explain alice@ router:80").ok().starts_with("no: "));
    let output = here.run("policy explain alice@ router:22,80").failed();
    assert!(output.contains("`22,80`") && output.contains("one port at a time"), "{output}");
    let narrower = here.policy(&POLICY.replace("tag:router:22", "tag:router:22,80"));
    here.run(&format!("policy set -f {narrower}")).ok();
    here.policy(POLICY);
    let faulty = here.policy(r#"{"groups": {"group:eng": ["bob"]}, "foo": 1, "acls": [], "acls": []}"#);
    let output = here.run(&format!("policy check -f {faulty}")).failed();
    assert!(output.contains("warning: `bob`") && !output.contains("error: `bob`"), "{output}");
    assert_eq!(output.matches("appears twice").count(), 1, "{output}");
    let output = here.run(&format!("policy check -o json -f {faulty}")).failed();
    let output: Value = serde_json::from_str(&output).unwrap();
    let severities: Vec<_> = output["errors"].as_array().unwrap().iter().map(|f| &f["severity"]).collect();
    assert!(severities.contains(&&"warning".into()) && severities.contains(&&"error".into()), "{output}");
    here.run(&format!("policy set -f {}", here.policy(POLICY))).ok();

    let bad = here.policy(&POLICY.replace("alice@", "alice"));
    let output = here.run(&format!("policy set -f {bad}")).failed();
    assert!(output.starts_with("error: ") && output.contains("policy.hujson:2:"), "{output}");
    assert_eq!(here.run("policy get").ok(), POLICY);

    here.stop();
    here.start();
    assert_eq!(here.run("policy get").ok(), POLICY);
}

#[test]
fn previews_show_only_what_differs() {
    let mut here = Installation::new("preview");
    here.start();
    here.with_router();
    here.run("nodes approve-routes -i router -r 192.168.1.0/24").ok();
    let id = format!("hskey-authreq-{}", "b".repeat(24));
    here.run(&format!("debug create-node --name laptop --user alice --key {id}")).ok();
    // The URL of the login page is accepted instead of the id.
    here.run(&format!("auth register -u alice --auth-id http://127.0.0.1:8080/register/{id}")).ok();
    let ssh = here.policy(r#"{"acls": [{"action": "accept", "src": ["alice@"], "dst": ["*:22"]}]}"#);
    let preview = here.run(&format!("policy preview -f {ssh}")).ok();
    let laptop = "laptop (2)\n  - no longer reaches router on 1-21, 23-65535\n  - no longer reaches \
                  192.168.1.0/24 through router on 1-21, 23-65535";
    assert!(preview.contains(laptop) && !preview.contains('+'), "{preview}");
    here.run(&format!("policy set -f {ssh}")).ok();
    let open = here.policy(r#"{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}"#);
    let preview = here.run(&format!("policy preview -f {open}")).ok();
    assert!(
        preview.contains("  + reaches router on 1-21, 23-65535\n") && !preview.contains("no longer"),
        "{preview}"
    );
}

#[test]
fn policies_can_be_managed_without_a_server() {
    const BYPASS: &str = "--bypass-server-and-access-database-directly";
    let mut here = Installation::new("offline");
    let file = here.policy(POLICY);
    assert!(here.run(&format!("policy get {BYPASS}")).failed().contains("there is no database"));
    here.start();
    here.with_router();
    assert!(here.run(&format!("policy get {BYPASS}")).failed().contains("db.sqlite"), "a server uses it");
    here.stop();

    let output = here.run(&format!("policy get {BYPASS}")).failed();
    assert!(output.contains("no policy was set: every node may reach every other"), "{output}");
    assert!(here.run(&format!("policy set -f {file} {BYPASS}")).failed().contains("--force"));
    here.run(&format!("policy set -f {file} --force {BYPASS}")).ok();
    assert_eq!(here.run(&format!("policy check -f {file} {BYPASS}")).ok(), "The policy is valid.\n");
    let failing =
        POLICY.replace("\"acls\"", r#""tests": [{"src": "alice@", "deny": ["tag:router:22"]}], "acls""#);
    let failing = here.policy(&failing);
    assert!(here.run(&format!("policy set -f {failing} --force {BYPASS}")).failed().contains("error: "));

    let alone =
        support::run_with(Path::new(PROGRAM), &here.dir, &format!("policy check -f {failing}"), "50ms");
    assert_eq!((alone.code, alone.stdout.as_str()), (Some(0), "The policy is valid.\n"), "{alone:?}");
    assert!(alone.stderr.contains("only the text was checked"), "{alone:?}");
    let bad = here.policy("{\"acls\": 7}");
    let alone = support::run_with(Path::new(PROGRAM), &here.dir, &format!("policy check -f {bad}"), "50ms");
    assert!(alone.failed().contains("policy.hujson:1:"));

    here.start();
    assert_eq!(here.run("policy get").ok(), POLICY);
}

#[test]
fn configtest_reports_all_problems_in_one_object() {
    let here = Installation::new("configtest");
    let file = here.dir.join("config.yaml");
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, config.replace("noise.key", "config.yaml").replace("s.sock", "config.yaml/s.sock"))
        .unwrap();
    let output = here.run("configtest -o json").failed();
    let output: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(output["error"], "the server would not start (2 problems)", "{output}");
    assert!(output["errors"][0]["message"].as_str().unwrap().contains("key file"), "{output}");
    assert!(output["warnings"].is_array(), "{output}");
    let output = here.run("configtest").failed();
    assert!(output.contains("Error: the server would not start (2 problems):\n  "), "{output}");
}

/// Limits how large a process may make its files.
fn limit_files(process: &Child, bytes: Option<u64>) {
    let pid = Pid::from_child(process);
    let limit = Rlimit { current: bytes, maximum: None };
    rustix::process::prlimit(Some(pid), Resource::Fsize, limit).unwrap();
}

#[test]
fn the_server_survives_a_full_disk_and_an_unwritable_log() {
    let mut here = Installation::new("full");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    // To a program that ignores SIGXFSZ, files that must not grow look like a full disk.
    let trap = "trap '' XFSZ; exec \"$0\" \"$@\"";
    here.start_as(Command::new("sh").args(["-c", trap, PROGRAM]).stderr(full));
    here.run("users create alice").ok();
    let server = here.server.as_ref().unwrap();
    limit_files(server, Some(0));
    let output = here.run("users create bob").failed();
    assert!(output.contains("the disk or a quota is full"), "{output}");
    let deadline = Instant::now() + Duration::from_secs(10);
    let healthy = || here.run("health").code == Some(0);
    while healthy() {
        assert!(Instant::now() < deadline, "health still reports success");
    }
    limit_files(server, None);
    here.run("users create bob").ok();
    while !healthy() {
        assert!(Instant::now() < deadline, "health still reports a failure");
    }
    here.stop();
}

#[test]
fn a_failed_start_is_one_json_log_line() {
    let start = |addition: &str| {
        let here = Installation::new("json");
        let file = here.dir.join("config.yaml");
        let config = std::fs::read_to_string(&file).unwrap() + addition;
        std::fs::write(&file, config).unwrap();
        std::fs::write(here.dir.join("noise.key"), "damaged").unwrap();
        here.run("serve").failed()
    };
    for (addition, why) in [("", "cannot use the key file"), ("taildrop: {enabled: perhaps}\n", "perhaps")] {
        let output = start(&format!("log: {{format: json}}\n{addition}"));
        let last = output.lines().last().unwrap();
        let line: Value = serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {output}"));
        assert_eq!(line["level"], "ERROR");
        assert!(line["fields"]["message"].as_str().unwrap().contains(why), "{output}");
        assert!(start(addition).lines().any(|line| line.starts_with("Error: ")));
    }
}

#[test]
fn the_log_reports_changes_to_nodes_and_the_servers_shutdown() {
    let mut here = Installation::new("log");
    let file = here.dir.join("log");
    here.start_as(Command::new(PROGRAM).stderr(std::fs::File::create(&file).unwrap()));
    here.with_router();
    here.run("nodes delete -i router --force").ok();
    here.stop();
    let log = std::fs::read_to_string(&file).unwrap();
    let mut lines = log.lines();
    for output in [
        "user `alice` (1) was created by=unix:",
        "node `router` (1) of user `alice` (1) joined",
        "node `router` (1) was deleted by=unix:",
        "received SIGTERM, shutting down",
        "stopped",
    ] {
        assert!(lines.any(|line| line.contains(output)), "{output}: {log}");
    }
}

#[test]
fn the_change_log_says_who_did_what_and_can_be_followed() {
    let mut here = Installation::new("changes");
    here.start();
    here.with_router();
    let mut follower = Command::new(PROGRAM)
        .args(["log", "--follow", "-o", "json", "--kind", "user,node", "--config"])
        .arg(here.dir.join("config.yaml"))
        .env_clear()
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut followed = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&followed.next().unwrap().unwrap()).unwrap();
    let first = [next(), next()].map(|change| change["name"].clone());
    assert_eq!(first, ["alice", "router"]);
    here.run("nodes rename -i 1 gateway").ok();
    let renamed = next();
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(renamed["actor"], format!("unix:{uid}"), "{renamed}");
    assert_eq!(renamed["fields"][0]["before"], "router", "{renamed}");
    // A restart of the server is no reason to stop following.
    here.stop();
    here.start();
    here.run("users create bob").ok();
    assert_eq!(next()["name"], "bob");
    follower.kill().unwrap();
    follower.wait().unwrap();

    let log = here.run("log --node gateway").ok();
    assert!(log.contains("node `gateway` (1) updated\n    given_name: router -> gateway"), "{log}");
    assert!(here.run("audit --since 1h --user bob -n 1").ok().contains("user `bob` (2) created"));
    assert!(here.run("log --kind nodes").failed().contains("did you mean `node`?"));
    assert!(here.run("log --since yesterday").failed().contains("`yesterday` is not a time"));
    assert_eq!(here.run("log --actor clock").ok().trim(), "There are no such changes.");
    here.stop();
}

#[test]
fn silent_connections_do_not_shut_out_newcomers() {
    let mut here = Installation::new("seats");
    let file = here.dir.join("log");
    let few = "ulimit -n 500; exec \"$0\" \"$@\"";
    let mut program = Command::new("sh");
    here.start_as(program.args(["-c", few, PROGRAM]).stderr(std::fs::File::create(&file).unwrap()));
    let log = std::fs::read_to_string(&file).unwrap();
    assert!(log.contains("the limit on open files is only 500, so there may be no more than 372"), "{log}");
    let (_, rest) = log.split_once("listening for HTTP on ").unwrap();
    let addr = rest.split_whitespace().next().unwrap();
    let silent: Vec<TcpStream> = (0..400)
        .map(|_| {
            let mut io = TcpStream::connect(addr).unwrap();
            io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
            io
        })
        .collect();
    for _ in 0..20 {
        let mut newcomer = TcpStream::connect(addr).unwrap();
        newcomer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        newcomer.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut line = [0; 12];
        newcomer.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"HTTP/1.1 200");
    }
    let log = std::fs::read_to_string(&file).unwrap();
    assert_eq!(log.matches("that no registered node is behind").count(), 1, "{log}");
    drop(silent);
    here.stop();
}

#[test]
fn logging_never_blocks_the_server() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    // Fill the pipe: on Linux it holds this much, and the next write would block.
    writer.write_all(&[b'\n'; 65_536]).unwrap();
    let mut here = Installation::new("unread");
    here.start_as(Command::new(PROGRAM).stderr(writer));
    for name in ["alice", "bob", "carol"] {
        here.run(&format!("users create {name}")).ok();
    }
    here.run("health").ok();
    here.stop();
    drop(reader);
}

/// The text of a log file so far.
fn log_of(here: &Installation) -> String {
    std::fs::read_to_string(here.dir.join("log")).unwrap()
}

fn start_with_log(here: &mut Installation) {
    let log = std::fs::File::options().create(true).append(true).open(here.dir.join("log")).unwrap();
    here.start_as(Command::new(PROGRAM).stderr(log));
}

#[test]
fn the_log_has_no_secrets_at_the_most_detailed_level() {
    let mut here = Installation::new("secrets");
    let config = here.dir.join("config.yaml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}log: {{level: trace}}\n")).unwrap();
    start_with_log(&mut here);
    here.with_router();
    let shown = |words: &str| here.run(words).ok().trim().to_owned();
    let api_key = shown("apikeys create");
    let auth_key = shown("preauthkeys create --user alice");
    // Commands that name keys, and a failure of each kind.
    here.run(&format!("apikeys expire --prefix {}", &api_key[..20.min(api_key.len())]));
    here.run(&format!("auth register --user alice --auth-id {auth_key}")).failed();
    here.stop();
    let noise = std::fs::read_to_string(here.dir.join("noise.key")).unwrap();
    let (_, noise_key) = noise.trim().split_once(':').unwrap();
    let log = log_of(&here);
    assert!(log.contains("user `alice` (1) was created"), "the log is read: {log}");
    for (name, secret) in
        [("API key", &api_key), ("pre-auth key", &auth_key), ("Noise key", &noise_key.to_owned())]
    {
        // The last part of a key is its secret; the log may name the public prefix.
        let secret = &secret[secret.len() - 24..];
        assert!(!log.contains(secret), "the log contains the {name}");
    }
}

#[test]
fn a_noise_key_that_others_can_read_is_reported() {
    let mut here = Installation::new("readable");
    start_with_log(&mut here);
    here.stop();
    assert!(!log_of(&here).contains("can read the private key"), "a new key is private");
    let key = here.dir.join("noise.key");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    start_with_log(&mut here);
    here.stop();
    let warning = format!("other users can read the private key in `{}` (mode 0644)", key.display());
    assert!(log_of(&here).contains(&warning), "{}", log_of(&here));
}
