//! The policy, and what it says about connections.

use serde_json::{Value, json};

use super::{Server, host};

const POLICY: &str = r#"{
  // alice may use the database
  "tagOwners": {"tag:db": ["alice@"]},
  "acls": [
    {"action": "accept", "src": ["alice@"], "dst": ["tag:db:5432"]},
  ],
}
"#;

async fn network() -> Server {
    let s = Server::new();
    s.user("alice").await;
    s.join(1, json!({"user": "alice"}), host("laptop", &[])).await;
    s.join(2, json!({"aclTags": ["tag:db"]}), host("db", &[])).await;
    s
}

#[tokio::test]
async fn is_returned_exactly_as_it_was_set() {
    let s = network().await;
    assert_eq!(s.ask("GET /policy").await.0, 500, "Headscale's answer where there is none");
    let set = s.ok("PUT /policy", json!({ "policy": POLICY })).await;
    assert_eq!(set["policy"], POLICY);
    assert!(set["updatedAt"].is_string());
    assert_eq!(s.ask("GET /policy").await.1, set);
    assert_eq!(s.ok("POST /policy/check", json!({ "policy": POLICY })).await, json!({}));
}

#[tokio::test]
async fn an_invalid_one_changes_nothing_and_every_finding_has_its_place() {
    let s = network().await;
    s.ok("PUT /policy", json!({ "policy": POLICY })).await;
    let bad = POLICY.replace("accept", "deny").replace("tag:db:5432", "tag:nobody:5432");
    for line in ["PUT /policy", "POST /policy/check", "POST /policy/preview"] {
        let (status, refusal) = s.send(line, json!({ "policy": bad }).to_string()).await;
        assert_eq!(status, 400, "{line}: {refusal}");
        let findings = refusal["errors"].as_array().unwrap();
        assert!(findings.len() >= 2, "{refusal}");
        for finding in findings {
            assert_eq!(finding["line"], 5, "{finding}");
            assert!(
                finding["column"].as_u64() > Some(1) && !finding["message"].as_str().unwrap().is_empty(),
                "{finding}"
            );
        }
    }
    assert_eq!(s.ask("GET /policy").await.1["policy"], POLICY);
    s.refused(400, "PUT /policy", json!({"policy": "{"})).await;

    let failing =
        POLICY.replace("\"acls\"", r#""tests": [{"src": "alice@", "accept": ["tag:db:22"]}], "acls""#);
    let (status, refusal) = s.send("PUT /policy", json!({ "policy": failing }).to_string()).await;
    assert_eq!(status, 400);
    assert_eq!(refusal["errors"][0]["code"], "test-failed", "{refusal}");
    assert_eq!(s.ask("GET /policy").await.1["policy"], POLICY);
}

#[tokio::test]
async fn explain_says_why_a_connection_is_allowed_or_denied() {
    let s = network().await;
    s.ok("PUT /policy", json!({ "policy": POLICY })).await;
    let explain = async |from: &str, to: &str| {
        s.ok("POST /policy/explain", json!({"source": from, "destination": to, "proto": "tcp"})).await
    };
    let yes = explain("laptop", "db:5432").await;
    assert_eq!(
        (&yes["allowed"], &yes["missing"], &yes["rule"]["line"]),
        (&json!(true), &json!([]), &json!(5))
    );
    assert!(yes["rule"]["text"].as_str().unwrap().contains("5432"), "{yes}");
    assert_eq!(explain("1", "2:5432").await, yes, "nodes can be given by id");
    let no = explain("laptop", "db:22").await;
    assert_eq!((&no["allowed"], &no["rule"]), (&json!(false), &Value::Null));
    assert!(!no["missing"].as_array().unwrap().is_empty(), "{no}");
    assert_eq!(explain("db", "laptop:5432").await["allowed"], false);
    s.refused(400, "POST /policy/explain", json!({"source": "laptop", "destination": "db"})).await;
    s.refused(400, "POST /policy/explain", json!({"source": "nobody", "destination": "db:22"})).await;

    let open = json!({"source": "db", "destination": "laptop:22", "policy": "{}"});
    assert_eq!(
        s.ok("POST /policy/explain", open).await["allowed"],
        true,
        "the policy in the request is used"
    );
}

#[tokio::test]
async fn preview_lists_what_would_change() {
    let s = network().await;
    let preview = s.ok("POST /policy/preview", json!({ "policy": POLICY })).await;
    let node = |name: &str| {
        let nodes = preview["nodes"].as_array().unwrap();
        nodes.iter().find(|n| n["name"] == name).unwrap_or_else(|| panic!("{name} in {preview}")).clone()
    };
    assert_eq!(node("db")["accessLost"][0]["destination"], "laptop");
    assert_eq!(node("laptop")["peersLost"], json!([]), "they still see each other");
    s.ok("PUT /policy", json!({ "policy": POLICY })).await;
    assert_eq!(s.ok("POST /policy/preview", json!({ "policy": POLICY })).await, json!({"nodes": []}));
}

#[tokio::test]
async fn debug_logins_are_approved_like_real_ones() {
    let s = Server::new();
    s.user("alice").await;
    let id = format!("hskey-authreq-{}", "a".repeat(24));
    let request = json!({"user": "alice", "key": id, "name": "web", "routes": ["10.0.0.0/8"]});
    let node = s.ok("POST /debug/node", request.clone()).await["node"].take();
    assert_eq!((&node["name"], &node["user"]["name"]), (&json!("web"), &json!("alice")));
    assert_eq!(node["registerMethod"], "REGISTER_METHOD_UNSPECIFIED");
    for time in ["expiry", "lastSeen", "createdAt"] {
        assert_eq!(node[time], "0001-01-01T00:00:00Z");
    }
    s.refused(400, "POST /debug/node", request).await;
    let joined = s.ok("POST /auth/register", json!({"user": "alice", "authId": id})).await["node"].take();
    assert_eq!((&joined["nodeKey"], &joined["givenName"]), (&node["nodeKey"], &json!("web")));
    assert_eq!(joined["availableRoutes"], json!(["10.0.0.0/8"]));

    s.refused(400, "POST /debug/node", json!({"user": "alice", "key": "short", "name": "x"})).await;
    s.refused(404, "POST /debug/node", json!({"user": "carol", "key": id, "name": "x"})).await;
    s.refused(400, "POST /debug/node", json!({"key": id, "name": "x"})).await;
    let bad = json!({"user": "alice", "key": "b".repeat(24), "name": "x", "routes": ["x"]});
    s.refused(400, "POST /debug/node", bad).await;
}
