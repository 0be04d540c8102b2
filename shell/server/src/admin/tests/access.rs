//! Authentication, request parsing, and store failures.

use headsail_api::paths::{OPERATIONS, Operation};
use headsail_store::Fault;
use serde_json::json;

use super::{Server, Trust};

/// Every operation of the contract, with its placeholders filled in.
fn operations() -> Vec<String> {
    let line = |o: &Operation| {
        format!("{} {}", o.route.method.as_str(), o.route.fill(&["1", "x"]).replace("/api/v1", ""))
    };
    OPERATIONS.iter().map(line).collect()
}

#[tokio::test]
async fn every_operation_has_a_handler() {
    let s = Server::new();
    for line in operations() {
        let (status, body) = s.ask(&line).await;
        assert!(
            status != 405 && !body["detail"].to_string().contains("no such operation"),
            "{line}: {status} {body}"
        );
    }
    assert_eq!(s.ask("PATCH /user").await.0, 405);
}

#[tokio::test]
async fn requests_without_a_valid_key_are_unauthorized() {
    let s = Server::trusting(Trust::Bearer);
    let key = |n: &str| format!("hskey-api-{}-{}", n.repeat(12), "0".repeat(64));
    let headers = [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        "Bearer nonsense".to_owned(),
        format!("Bearer {}", key("a")),
        format!("Basic {}", key("a")),
    ];
    for line in operations() {
        for header in &headers {
            let (status, body) = s.request(&line, String::new(), &[("authorization", header)]).await;
            assert_eq!((status, &body["detail"]), (401, &json!("Unauthorized")), "{line} with `{header}`");
            assert!(body.to_string().len() < 100);
        }
        assert_eq!(s.ask(&line).await.0, 401);
    }
}

#[tokio::test]
async fn unknown_paths_are_not_found_with_or_without_a_key() {
    for trust in [Trust::Socket, Trust::Bearer] {
        let s = Server::trusting(trust);
        for line in ["GET ", "GET /", "POST /", "GET /nothing/here", "PUT /nodes", "GET /openapi.jsonx"] {
            let (status, body) = s.ask(line).await;
            assert_eq!((status, &body["title"]), (404, &json!("Not Found")), "{line}");
        }
        assert_eq!(s.ask("POST /openapi.json").await.0, 405);
    }
}

#[tokio::test]
async fn a_key_is_valid_until_it_expires_and_its_use_is_recorded() {
    let s = Server::trusting(Trust::Bearer);
    let inside = Server::over(s.tailnet.clone(), s.store.clone(), Trust::Socket);
    let outside = s;

    let key = inside.ok("POST /apikey", json!({})).await["apiKey"].as_str().unwrap().to_owned();
    let mut follow = inside.tailnet.clerk.follow();
    for scheme in ["Bearer", "bearer"] {
        let header = format!("{scheme} {key}");
        let (status, body) = outside.request("GET /node", String::new(), &[("authorization", &header)]).await;
        assert_eq!((status, body), (200, json!({"nodes": []})));
    }
    follow.wait_for(|feed| feed.tailnet().api_keys().all(|k| k.last_seen.is_some())).await.unwrap();

    let header = format!("Bearer {key}");
    let wrong = format!("{}{}", &header[..header.len() - 1], if key.ends_with('0') { '1' } else { '0' });
    assert_eq!(outside.request("GET /node", String::new(), &[("authorization", &wrong)]).await.0, 401);
    inside.ok("POST /apikey/expire", json!({"id": 1})).await;
    assert_eq!(outside.request("GET /node", String::new(), &[("authorization", &header)]).await.0, 401);
}

#[tokio::test]
async fn malformed_and_oversized_bodies_are_rejected() {
    let s = Server::new();
    for body in ["{", "[]", "7", "\"x\"", "{\"name\":", "\u{0}"] {
        assert_eq!(s.send("POST /user", body).await.0, 400, "{body:?}");
    }
    for (line, body, words) in [
        ("POST /user", "[]", "it is not a JSON object"),
        ("POST /node/1/tags", r#"{"tags":"a \"b\""}"#, r#"invalid type: `a \"b\"`, expected a list"#),
        (
            "POST /node/1/expire",
            r#"{"disableExpiry":"perhaps"}"#,
            "invalid value: `perhaps`, expected true or false",
        ),
        ("POST /user", r#"{"name":7}"#, "invalid type: integer `7`, expected a string"),
        ("GET /user?id=seven", "", "invalid value: `seven`, expected an id: a whole number"),
        ("POST /node/1/expire?expiry=soon", "", "`soon` is not a time"),
    ] {
        let (status, problem) = s.send(line, body).await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(status == 400 && detail.contains(words), "{line} {body}: {detail}");
    }
    let long = format!(r#"{{"tags":"{}"}}"#, "x".repeat(10_000));
    let (_, problem) = s.send("POST /node/1/tags", long).await;
    assert!(
        problem["detail"].as_str().unwrap().len() < 300,
        "an error quotes only the beginning of a long value"
    );
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(9 << 20));
    assert_eq!(s.send("POST /user", large).await.0, 413);
    // The content type and unknown fields are ignored.
    let headers = [("content-type", "text/plain")];
    let body = r#" {"name":"alice","more":{}} "#.to_owned();
    assert_eq!(s.request("POST /user", body, &headers).await.0, 200);
}

#[tokio::test]
async fn a_change_that_cannot_be_saved_is_not_made() {
    let s = Server::new();
    s.store.fail([Fault::Full("/data/headsail.db".into())]);
    let why = s.refused(503, "POST /user", json!({"name": "alice"})).await;
    assert!(why.contains("disk"), "{why}");
    assert_eq!(s.ask("GET /user").await.1, json!({"users": []}));
    s.user("alice").await;

    assert_eq!(s.ask("GET /health").await, (200, json!({"databaseConnectivity": true})));
    s.store.fail([Fault::Busy("/data/headsail.db".into())]);
    assert_eq!(s.ask("GET /health").await, (200, json!({"databaseConnectivity": false})));
}
