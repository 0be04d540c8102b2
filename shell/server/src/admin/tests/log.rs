//! The change log.

use headsail_tailnet::command::Command;
use serde_json::json;

use super::{Server, host};
use crate::admin::Trust;

async fn read(server: &Server, query: &str) -> serde_json::Value {
    let (status, listed) = server.ask(&format!("GET /log{query}")).await;
    assert_eq!(status, 200, "{query}: {listed}");
    listed
}

/// The changes, newest first, each as actor, kind, action and name.
async fn told(server: &Server, query: &str) -> Vec<String> {
    let listed = read(server, query).await;
    let text = |c: &serde_json::Value, field: &str| c[field].as_str().unwrap().to_owned();
    let line =
        |c| format!("{} {} {} {}", text(c, "actor"), text(c, "kind"), text(c, "action"), text(c, "name"));
    listed["changes"].as_array().unwrap().iter().map(line).collect()
}

#[tokio::test]
async fn the_log_says_who_did_what_with_each_field_that_changed() {
    let server = Server::new();
    server.user("alice").await;
    let id = server.join(1, json!({ "user": "1", "reusable": true }), host("web", &[])).await;
    server.ok(&format!("POST /node/{id}/rename/www"), json!({})).await;
    server.ok(&format!("DELETE /node/{id}"), json!({})).await;
    let lines = told(&server, "?kind=user,node").await;
    assert_eq!(
        lines,
        [
            "unix:1000 node deleted www",
            "unix:1000 node updated www",
            "server node created web",
            "unix:1000 user created alice",
        ]
    );
    let listed = read(&server, "?kind=node&limit=2").await;
    let fields = &listed["changes"][1]["fields"];
    assert_eq!(fields[0], json!({ "name": "given_name", "before": "web", "after": "www" }), "{fields}");
    assert_eq!(fields[1], json!({ "name": "name_pinned", "before": false, "after": true }));
    assert_eq!(fields.as_array().unwrap().len(), 2, "contact and presence are left out: {fields}");
    assert_eq!(told(&server, &format!("?node={id}&user=1")).await.len(), 2, "the deletion names no owner");
}

#[tokio::test]
async fn secrets_are_not_in_the_log() {
    let server = Server::new();
    server.user("alice").await;
    let made = server.ok("POST /preauthkey", json!({ "user": "1" })).await;
    let api_key = server.ok("POST /apikey", json!({})).await;
    let log = read(&server, "").await.to_string();
    assert!(log.contains("preauthkey") && !log.contains("hash"), "{log}");
    for text in [&made["preAuthKey"]["key"], &api_key["apiKey"]] {
        let secret = text.as_str().unwrap().rsplit('-').next().unwrap();
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn a_policy_is_shown_as_a_diff() {
    let server = Server::new();
    for policy in ["{\n  // first\n  \"acls\": []\n}\n", "{\n  // second\n  \"acls\": []\n}\n"] {
        server.ok("PUT /policy", json!({ "policy": policy })).await;
    }
    let log = read(&server, "?kind=policy&limit=1").await;
    let diff = log["changes"][0]["diff"].as_str().unwrap();
    assert!(diff.contains("-  // first\n+  // second\n"), "{diff}");
    assert!(!log.to_string().contains("\"data\""), "{log}");
}

#[tokio::test]
async fn changes_through_an_api_key_name_the_key() {
    let server = Server::trusting(Trust::Bearer);
    let key = headsail_tailnet::model::key::mint("hskey-api-", &[9; 44]);
    let create = Command::CreateApiKey { prefix: key.prefix, digest: key.digest, expiration: None };
    crate::testing::submit(&server.tailnet, create).await;
    let bearer = format!("Bearer {}", key.text);
    let authorized = [("authorization", bearer.as_str())];
    let user = json!({ "name": "bob" }).to_string();
    assert_eq!(server.request("POST /user", user, &authorized).await.0, 200);
    let (_, log) = server.request("GET /log?actor=api-key:1&kind=user", String::new(), &authorized).await;
    assert_eq!(
        (&log["changes"][0]["name"], &log["changes"][0]["actor"]),
        (&"bob".into(), &"api-key:1".into())
    );
    assert_eq!(server.request("GET /log", String::new(), &[]).await.0, 401);
}

#[tokio::test]
async fn a_request_waits_for_the_next_change() {
    let server = Server::new();
    server.user("alice").await;
    let newest = read(&server, "?limit=1").await["changes"][0]["id"].as_str().unwrap().to_owned();
    let line = format!("/log?after={newest}&wait=60");
    let (log, ()) = tokio::join!(told(&server, line.trim_start_matches("/log")), async {
        tokio::task::yield_now().await;
        server.user("bob").await;
    });
    assert_eq!(log, ["unix:1000 user created bob"]);
    assert_eq!(told(&server, &format!("?after={newest}&kind=node&wait=0")).await, [""; 0]);
}

#[tokio::test]
async fn invalid_queries_are_rejected() {
    let server = Server::new();
    for (query, why) in [
        ("limit=1001", "1000"),
        ("since=yesterday", "`yesterday`"),
        ("node=x", "an id"),
        ("kind=nodes", "did you mean `node`?"),
        ("kind=zzz", "use one of user, node,"),
        ("actor=apikey", "did you mean `api-key`?"),
        ("actor=node:x", "`node:x` is not a known actor"),
        ("node=18446744073709551615", "2^53"),
    ] {
        let (status, refusal) = server.ask(&format!("GET /log?{query}")).await;
        assert!(status == 400 && refusal["detail"].as_str().unwrap().contains(why), "{query}: {refusal}");
    }
}
