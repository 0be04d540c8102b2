//! Who may ask, what is understood, and what happens when the store fails.

use headsail_api::paths;
use headsail_store::Fault;
use serde_json::json;

use super::{Server, Trust};

/// Every operation of the contract, with something in its placeholders.
fn operations() -> Vec<String> {
    use paths::*;
    let all = [
        USER_LIST,
        USER_CREATE,
        USER_DELETE,
        USER_RENAME,
        USER_ROLE,
        PREAUTHKEY_LIST,
        PREAUTHKEY_CREATE,
        PREAUTHKEY_EXPIRE,
        PREAUTHKEY_DELETE,
        NODE_LIST,
        NODE_GET,
        NODE_DELETE,
        NODE_EXPIRE,
        NODE_RENAME,
        NODE_TAGS,
        NODE_APPROVE_ROUTES,
        NODE_REGISTER,
        NODE_BACKFILL,
        NODE_ROUTES,
        ROUTE_LIST,
        ROUTE_ENABLE,
        ROUTE_DISABLE,
        ROUTE_DELETE,
        APIKEY_LIST,
        APIKEY_CREATE,
        APIKEY_EXPIRE,
        APIKEY_DELETE,
        AUTH_REGISTER,
        AUTH_APPROVE,
        AUTH_REJECT,
        AUTH_PENDING,
        POLICY_GET,
        POLICY_SET,
        POLICY_CHECK,
        POLICY_PREVIEW,
        POLICY_EXPLAIN,
        HEALTH,
        DEBUG_CREATE_NODE,
    ];
    let line = |r: &Route| format!("{} {}", r.method.as_str(), r.fill(&["1", "x"]).replace("/api/v1", ""));
    all.iter().map(line).collect()
}

#[tokio::test]
async fn every_operation_is_there() {
    let s = Server::new();
    for line in operations() {
        let (status, body) = s.ask(&line).await;
        assert!(status != 405 && body["detail"] != "there is no such operation", "{line}: {status} {body}");
    }
    assert_eq!(s.ask("GET /nothing/here").await.0, 404);
    assert_eq!(s.ask("PATCH /user").await.0, 405);
}

#[tokio::test]
async fn strangers_get_nothing() {
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
    for line in operations().into_iter().chain(["GET /nothing/here".to_owned()]) {
        for header in &headers {
            let (status, body) = s.request(&line, String::new(), &[("authorization", header)]).await;
            assert_eq!((status, &body["detail"]), (401, &json!("Unauthorized")), "{line} with `{header}`");
            assert!(body.to_string().len() < 100);
        }
        assert_eq!(s.ask(&line).await.0, 401);
    }
}

#[tokio::test]
async fn a_key_opens_until_it_expires_and_its_use_is_noted() {
    let s = Server::trusting(Trust::Bearer);
    let inside = Server { router: super::routes(s.app.clone(), Trust::Socket), ..s };
    let outside = super::routes(inside.app.clone(), Trust::Bearer);
    let outside = Server { router: outside, app: inside.app.clone(), store: inside.store.clone() };

    let key = inside.ok("POST /apikey", json!({})).await["apiKey"].as_str().unwrap().to_owned();
    let mut follow = inside.app.clerk.follow();
    for scheme in ["Bearer", "bearer"] {
        let header = format!("{scheme} {key}");
        let (status, body) = outside.request("GET /node", String::new(), &[("authorization", &header)]).await;
        assert_eq!((status, body), (200, json!({"nodes": []})));
    }
    follow.wait_for(|t| t.api_keys().all(|k| k.last_seen.is_some())).await.unwrap();

    let header = format!("Bearer {key}");
    let wrong = format!("{}{}", &header[..header.len() - 1], if key.ends_with('0') { '1' } else { '0' });
    assert_eq!(outside.request("GET /node", String::new(), &[("authorization", &wrong)]).await.0, 401);
    inside.ok("POST /apikey/expire", json!({"id": 1})).await;
    assert_eq!(outside.request("GET /node", String::new(), &[("authorization", &header)]).await.0, 401);
}

#[tokio::test]
async fn malformed_and_oversized_bodies_are_refused() {
    let s = Server::new();
    for body in ["{", "[]", "7", "\"x\"", "{\"name\":", "\u{0}"] {
        assert_eq!(s.send("POST /user", body).await.0, 400, "{body:?}");
    }
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(1 << 20));
    assert_eq!(s.send("POST /user", large).await.0, 413);
    // The content type does not matter, nor do fields that nobody knows.
    let headers = [("content-type", "text/plain")];
    let body = r#" {"name":"alice","more":{}} "#.to_owned();
    assert_eq!(s.request("POST /user", body, &headers).await.0, 200);
}

#[tokio::test]
async fn what_cannot_be_saved_has_not_happened() {
    let s = Server::new();
    s.store.fail([Fault::Full("/data/headsail.db".into())]);
    let told = s.refused(503, "POST /user", json!({"name": "alice"})).await;
    assert!(told.contains("disk"), "{told}");
    assert_eq!(s.ask("GET /user").await.1, json!({"users": []}));
    s.user("alice").await;

    assert_eq!(s.ask("GET /health").await, (200, json!({"databaseConnectivity": true})));
    s.store.fail([Fault::Busy("/data/headsail.db".into())]);
    assert_eq!(s.ask("GET /health").await, (200, json!({"databaseConnectivity": false})));
}
