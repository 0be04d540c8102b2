//! The built program against a server that answers from a table and records the requests.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

mod support;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;

use support::Outcome;

/// A server with its own data directory; both are removed when the test ends.
struct Server {
    dir: PathBuf,
    asked: Arc<Mutex<Vec<String>>>,
    _runtime: Runtime,
}

impl Server {
    /// Answers each `METHOD /path?query` with a status and body, and everything else with 404.
    fn new(name: &str, answers: &[(&str, u16, Value)]) -> Server {
        let dir = std::env::temp_dir().join(format!("headsail-cli-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let answers: BTreeMap<String, (u16, String)> = answers
            .iter()
            .map(|(line, status, body)| (line.to_string(), (*status, body.to_string())))
            .collect();
        let answers = Arc::new(answers);
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(async { UnixListener::bind(dir.join("headsail.sock")).unwrap() });
        let log = asked.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, log) = (answers.clone(), log.clone());
                let service = service_fn(move |request| answer(answers.clone(), log.clone(), request));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Server { dir, asked, _runtime: runtime }
    }

    /// Runs the program with these arguments.
    fn run(&self, words: &str) -> Outcome {
        self.run_as(Path::new(env!("CARGO_BIN_EXE_headsail")), words)
    }

    fn run_as(&self, program: &Path, words: &str) -> Outcome {
        support::run(program, &self.dir, words)
    }

    /// The requests since the last call: request lines with bodies.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

async fn answer(
    answers: Arc<BTreeMap<String, (u16, String)>>,
    log: Arc<Mutex<Vec<String>>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let line = format!("{} {}", request.method(), request.uri());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    log.lock().unwrap().push(format!("{line} {}", String::from_utf8_lossy(&body)).trim_end().to_owned());
    let nothing = (404, json!({"title": "Not Found", "status": 404, "detail": "no such thing"}).to_string());
    let (status, body) = answers.get(&line).cloned().unwrap_or(nothing);
    Ok(Response::builder().status(status).body(Full::new(Bytes::from(body))).unwrap())
}

fn network() -> Server {
    let node = json!({"id": "4", "givenName": "router", "name": "Router", "tags": ["tag:router"],
        "user": {"id": "2147455555", "name": "tagged-devices"}, "availableRoutes": ["10.0.0.0/8", "192.168.1.0/24"],
        "approvedRoutes": ["10.0.0.0/8"], "subnetRoutes": ["10.0.0.0/8"]});
    let routes = json!({"routes": [
        {"id": "3", "node": node, "prefix": "10.0.0.0/8", "advertised": true, "enabled": true, "isPrimary": true},
        {"id": "9", "node": node, "prefix": "192.168.1.0/24", "advertised": true, "enabled": false, "isPrimary": false},
        {"id": "11", "node": node, "prefix": "::/0", "advertised": true, "enabled": true, "isPrimary": false},
    ]});
    let users = json!({"users": [{"id": "1", "name": "alice", "email": "alice@example.com",
        "createdAt": "2026-01-31T12:00:00Z"}, {"id": "2", "name": "bob"}]});
    Server::new(
        std::thread::current().name().unwrap_or("test"),
        &[
            ("GET /api/v1/routes", 200, routes),
            ("POST /api/v1/routes/9/enable", 200, json!({})),
            ("POST /api/v1/routes/11/disable", 200, json!({})),
            ("GET /api/v1/node", 200, json!({"nodes": [node]})),
            ("GET /api/v1/node/4", 200, json!({"node": node})),
            ("POST /api/v1/node/4/tags", 200, json!({"node": node})),
            ("DELETE /api/v1/node/4", 200, json!({})),
            ("POST /api/v1/node/4/approve_routes", 200, json!({"node": node})),
            ("POST /api/v1/node/register?user=alice&key=abc", 200, json!({"node": node})),
            ("GET /api/v1/user", 200, users),
            (
                "POST /api/v1/user",
                409,
                json!({"title": "Conflict", "status": 409, "detail": "user `alice` exists"}),
            ),
            ("POST /api/v1/user/2/rename/robert", 200, json!({"user": {"id": "2", "name": "robert"}})),
            ("POST /api/v1/user/2/role", 200, json!({"user": {"id": "2", "name": "bob", "role": "admin"}})),
            ("POST /api/v1/preauthkey", 200, json!({"preAuthKey": {"id": "5", "key": "hskey-auth-x-y"}})),
            ("POST /api/v1/preauthkey/expire", 200, json!({})),
            ("POST /api/v1/apikey", 200, json!({"apiKey": "hskey-api-x-y"})),
            ("GET /api/v1/policy", 200, json!({"policy": "{\n  // mine\n}\n", "updatedAt": null})),
            (
                "PUT /api/v1/policy",
                400,
                json!({"title": "Bad Request", "status": 400, "detail": "the policy has 1 error", "errors": [
                    {"message": "`bob` is not a user", "severity": "error", "value": "bob", "line": 1, "column": 15, "length": 5,
                     "help": "write `bob@`"}]}),
            ),
            ("GET /api/v1/health", 200, json!({"databaseConnectivity": true})),
        ],
    )
}

#[test]
fn the_commands_of_headscales_routing_guide_work() {
    let server = network();
    assert_eq!(
        server.run("routes list").ok(),
        "ID | Node   | Prefix         | Advertised | Enabled | Primary\n\
         3  | router | 10.0.0.0/8     | true       | true    | true\n\
         9  | router | 192.168.1.0/24 | true       | false   | false\n\
         11 | router | ::/0           | true       | true    | -\n"
    );
    server.asked();
    assert_eq!(
        server.run("routes enable --route-id 9").ok(),
        "Route 9 (192.168.1.0/24 of `router`) is approved.\n"
    );
    assert_eq!(server.asked(), ["GET /api/v1/routes", "POST /api/v1/routes/9/enable"]);
    assert_eq!(
        server.run("nodes tag --identifier 4 --tags tag:router").ok(),
        "Node `router` has the tags tag:router.\n"
    );
    assert_eq!(server.asked(), [r#"POST /api/v1/node/4/tags {"tags":["tag:router"]}"#]);
}

#[test]
fn routes_are_selected_by_prefix_and_node_name() {
    let server = network();
    server.run("routes enable -i router -r 192.168.1.0/24").ok();
    assert_eq!(server.asked(), ["GET /api/v1/routes", "GET /api/v1/node", "POST /api/v1/routes/9/enable"]);
    server.run("routes disable -r 11").ok();
    assert!(server.run("routes disable -r 12").failed().contains("there is no route `12`"));
    assert!(server.run("routes enable -r 10.0.0.0/8").failed().contains("--identifier"));
    assert_eq!(
        server.run("nodes list-routes").ok(),
        "ID | Hostname | Approved   | Available      | Serving (Primary)\n\
         4  | router   | 10.0.0.0/8 | 10.0.0.0/8     | 10.0.0.0/8\n   |          |            | 192.168.1.0/24 | \n"
    );
}

#[test]
fn destructive_commands_need_confirmation() {
    let server = network();
    let output = server.run("nodes delete -i 4").failed();
    assert!(output.starts_with("Error: Delete node `router` (4)?") && output.contains("--force"), "{output}");
    assert!(!server.asked().iter().any(|line| line.starts_with("DELETE")));
    assert_eq!(server.run("nodes delete -i 4 --force").ok(), "Node `router` deleted.\n");
    assert_eq!(server.run("--force nodes del -i router -o json-line").ok(), "{}\n");
    let output = server.run("users destroy bob -o json").failed();
    assert!(output.starts_with("{\n\t\"error\": \"Delete user `bob` (2)"), "{output}");
}

#[test]
fn users_are_found_by_name_and_by_id() {
    let server = network();
    assert_eq!(
        server.run("users list").ok(),
        "ID | Name | Username | Email             | Created\n\
         1  |      | alice    | alice@example.com | 2026-01-31 12:00:00\n\
         2  |      | bob      |                   | -\n"
    );
    server.asked();
    for words in ["users role bob admin", "users set-role -i 2 admin", "users role -n bob admin"] {
        assert_eq!(server.run(words).ok(), "The role of user `bob` is now `admin`.\n");
        let asked = server.asked();
        assert_eq!(asked.last().unwrap(), r#"POST /api/v1/user/2/role {"role":"admin"}"#, "{words}");
    }
    assert!(server.run("users role admin").failed().contains("specify a user"));
    assert!(server.run("users role -i 2 bob admin").failed().contains("once"));
    server.run("users rename bob robert").ok();
    server.run("users rename -i 2 -r robert").ok();
    assert!(server.run("users rename carol x").failed().contains("there is no user `carol`"));
    server.asked();
    server.run("preauthkeys -u alice create --reusable -e 24h").ok();
    let asked = server.asked();
    let body = asked.last().and_then(|l| l.split_once("preauthkey ")).map(|(_, body)| body).unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["user"], &body["reusable"]), (&json!("1"), &json!(true)));
    assert!(body["expiration"].is_string());
    server.run("preauthkeys -u alice expire 0123abcd").ok();
    assert_eq!(server.asked(), [r#"POST /api/v1/preauthkey/expire {"key":"0123abcd"}"#]);
}

#[test]
fn secrets_and_policies_are_printed_bare() {
    let server = network();
    assert_eq!(server.run("preauthkeys create -u 1").ok(), "hskey-auth-x-y\n");
    assert_eq!(server.run("apikeys create").ok(), "hskey-api-x-y\n");
    assert_eq!(server.run("apikeys create -o json").ok(), "\"hskey-api-x-y\"\n");
    assert_eq!(server.run("policy get -o json").ok(), "{\n  // mine\n}\n");
}

#[test]
fn failures_are_shown_to_people_and_programs() {
    let server = network();
    assert_eq!(server.run("users create alice").failed(), "Error: user `alice` exists\n");
    assert_eq!(
        server.run("users create alice -o json-line").failed(),
        "{\"error\":\"user `alice` exists\"}\n"
    );
    assert_eq!(server.run("users create alice -o yaml").failed().trim(), "error: user `alice` exists");
    let output = server.run("users create -o json").failed();
    assert!(serde_json::from_str::<Value>(&output).unwrap()["error"].is_string(), "{output}");
    assert!(server.run("users create").failed().contains("Usage: headsail users create"));
    assert!(server.run("nodes expire -i 77").failed().contains("no such thing"));
}

#[test]
fn policy_errors_are_shown_in_the_policy_text() {
    let server = network();
    let file = server.dir.join("policy.hujson");
    std::fs::write(&file, "{\"groups\": {\"bob\": []}}\n").unwrap();
    let output = server.run(&format!("policy set -f {}", file.display())).failed();
    assert!(
        output.starts_with("error: `bob` is not a user\n") && output.contains("policy.hujson:1:15"),
        "{output}"
    );
    assert!(output.contains("help: write `bob@`"), "{output}");
    let output = server.run(&format!("policy set -o json-line -f {}", file.display())).failed();
    let output: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(
        (&output["error"], &output["errors"][0]["line"]),
        (&json!("the policy has 1 error"), &json!(1))
    );
    assert!(
        server
            .run("policy set -f /nonexistent/p")
            .failed()
            .contains("cannot read the policy `/nonexistent/p`")
    );
}

#[test]
fn the_program_behaves_the_same_as_headscale() {
    let server = network();
    let link = server.dir.join("headscale");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_headsail"), &link).unwrap();
    assert_eq!(server.run_as(&link, "users list"), server.run("users list"));
    assert_eq!(
        server.run_as(&link, "nodes -n alice register --key abc").stdout,
        "Node `router` registered.\n"
    );
    assert!(server.run_as(&link, "users create").stderr.contains("Usage: headscale users create"));
    let completion = server.run_as(&link, "completion bash").ok();
    assert!(completion.contains("_headscale()"), "the script completes the program name that was typed");
}

#[test]
fn some_commands_need_no_server() {
    let server = Server::new("alone", &[]);
    assert!(server.run("version").ok().starts_with(concat!(
        "headsail version ",
        env!("CARGO_PKG_VERSION"),
        "\n"
    )));
    let version: Value = serde_json::from_str(&server.run("version -o json").ok()).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    let key = server.run("generate private-key").ok();
    assert_eq!(key.trim().strip_prefix("privkey:").map(str::len), Some(64));
    assert!(server.run("--help").ok().contains("Usage: headsail"));
    assert_eq!(server.run("--version").ok(), concat!("headsail ", env!("CARGO_PKG_VERSION"), "\n"));
    assert!(server.asked().is_empty());
}

#[test]
fn hostile_names_cannot_break_tables() {
    let wide = "w".repeat(70_000);
    let odd = "a\nb\u{1b}[2J\u{7f}\u{202e}c";
    let node = |name: &str| json!({"id": "4", "name": name, "givenName": "router", "tags": [name]});
    let server = Server::new(
        "strangers",
        &[
            ("GET /api/v1/node", 200, json!({"nodes": [node(&wide), node(odd)]})),
            ("GET /api/v1/user", 200, json!({"users": [{"id": "1", "name": wide, "displayName": odd}]})),
            (
                "GET /api/v1/auth/pending",
                200,
                json!({"pending": [{"authId": "x", "source": wide, "destination": odd}]}),
            ),
        ],
    );
    for (words, lines) in [("nodes list", 3), ("users list", 2), ("auth list", 2)] {
        let shown = server.run(words).ok();
        assert_eq!(shown.lines().count(), lines, "{words}: {shown}");
        assert!(shown.contains(&format!("{}…", "w".repeat(63))) && shown.len() < 3000, "{words}: {shown}");
        assert!(shown.contains("a\u{fffd}b\u{fffd}[2J\u{fffd}\u{fffd}c"), "{words}: {shown}");
    }
    // Programs get every byte.
    for format in ["json", "json-line", "yaml"] {
        let output = server.run(&format!("nodes list -o {format}")).ok();
        let output: Value = match format {
            "yaml" => serde_saphyr::from_str(&output).unwrap(),
            _ => serde_json::from_str(&output).unwrap(),
        };
        assert_eq!(
            (output[0]["name"].as_str(), output[1]["name"].as_str()),
            (Some(wide.as_str()), Some(odd)),
            "{format}"
        );
    }
}

#[test]
fn yaml_keeps_each_value_on_the_line_of_its_key() {
    let key = format!("hskey-auth-abcdefghijkm-{}", "0".repeat(64));
    let server = Server::new(
        "yaml",
        &[("POST /api/v1/preauthkey", 200, json!({"preAuthKey": {"id": "5", "key": key}}))],
    );
    let output = server.run("preauthkeys create -u 1 -o yaml").ok();
    assert!(output.lines().any(|l| l == format!("key: {key}")), "{output}");
}

#[test]
fn the_end_of_the_calendar_is_sent_as_the_last_valid_time() {
    let server = Server::new("never", &[("POST /api/v1/node/4/expire", 200, json!({"node": {"id": "4"}}))]);
    server.run("nodes expire -i 4 -e 9999-12-31T23:59:59Z").ok();
    let asked = server.asked();
    let body = asked.last().and_then(|l| l.split_once("expire ")).map(|(_, body)| body).unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert!(body["expiry"].as_str().is_some_and(|t| t.starts_with("9999-12-30T22:00:00")), "{body}");
}

#[test]
fn api_keys_are_accepted_as_lists_show_them() {
    let server = Server::new(
        "prefixes",
        &[
            ("DELETE /api/v1/apikey/abcdefghijkm", 200, json!({})),
            ("POST /api/v1/apikey/expire", 200, json!({})),
        ],
    );
    for prefix in ["abcdefghijkm", "hskey-api-abcdefghijkm", "hskey-api-abcdefghijkm-***"] {
        server.run(&format!("apikeys delete -p {prefix}")).ok();
        server.run(&format!("apikeys expire -p {prefix}")).ok();
        let asked = server.asked();
        let [delete, expire] = asked.as_slice() else { panic!("{asked:?}") };
        assert_eq!(delete, "DELETE /api/v1/apikey/abcdefghijkm");
        assert!(expire.contains(r#""prefix":"abcdefghijkm""#), "{expire}");
    }
}
