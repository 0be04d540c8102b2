//! Nodes, their routes, and logins.

use headsail_wire::hostinfo::Hostinfo;
use serde_json::{Value, json};

use super::{Server, host};

/// Alice's node `web` with two routes, and a tagged node `db`.
async fn network() -> Server {
    let s = Server::new();
    s.user("alice").await;
    assert_eq!(
        s.join(1, json!({"user": "alice"}), host("Web", &["10.0.0.0/8", "0.0.0.0/0", "::/0"])).await,
        1
    );
    assert_eq!(s.join(2, json!({"aclTags": ["tag:db"]}), host("db", &[])).await, 2);
    s
}

#[tokio::test]
async fn are_shown_with_all_fields() {
    let s = network().await;
    let (_, shown) = s.ask("GET /node/1").await;
    let node = &shown["node"];
    assert_eq!(node["id"], "1");
    assert_eq!(node["machineKey"], format!("mkey:{}", "01".repeat(32)));
    assert_eq!(node["nodeKey"], format!("nodekey:{}", "81".repeat(32)));
    assert_eq!(node["ipAddresses"], json!(["100.64.0.1", "fd7a:115c:a1e0::1"]));
    assert_eq!((&node["name"], &node["givenName"]), (&json!("Web"), &json!("web")));
    assert_eq!((&node["user"]["name"], &node["expiry"]), (&json!("alice"), &Value::Null));
    assert_eq!(
        (&node["registerMethod"], &node["online"]),
        (&json!("REGISTER_METHOD_AUTH_KEY"), &json!(false))
    );
    assert_eq!(node["availableRoutes"], json!(["10.0.0.0/8", "0.0.0.0/0", "::/0"]));
    assert_eq!(
        (&node["approvedRoutes"], &node["subnetRoutes"], &node["tags"]),
        (&json!([]), &json!([]), &json!([]))
    );
    assert!(node["lastSeen"].is_string() && node["createdAt"].is_string());

    let (_, all) = s.ask("GET /node").await;
    let tagged = &all["nodes"][1];
    assert_eq!(tagged["tags"], json!(["tag:db"]));
    assert_eq!(
        (&tagged["user"]["id"], &tagged["user"]["name"]),
        (&json!("2147455555"), &json!("tagged-devices"))
    );
    for user in ["alice", "1"] {
        let (_, of_alice) = s.ask(&format!("GET /node?user={user}")).await;
        assert_eq!(of_alice["nodes"].as_array().unwrap().len(), 1);
    }
    assert_eq!(s.ask("GET /node?user=carol").await.0, 404);
    assert_eq!(s.ask("GET /node/77").await.0, 404);
    assert_eq!(s.ask("GET /node/0").await.0, 404);
    assert_eq!(s.ask("GET /node/web").await.0, 400);
}

#[tokio::test]
async fn are_renamed_tagged_expired_and_deleted() {
    let s = network().await;
    assert_eq!(s.ok("POST /node/1/rename/server", json!({})).await["node"]["givenName"], "server");
    s.refused(400, "POST /node/1/rename/db", json!({})).await;
    s.refused(400, "POST /node/1/rename/not_a_label", json!({})).await;
    s.refused(404, "POST /node/9/rename/x", json!({})).await;

    let expired = s.ok("POST /node/1/expire", json!({})).await;
    assert!(expired["node"]["expiry"].is_string());
    let later = s.ok("POST /node/1/expire", json!({"expiry": "2099-01-01T00:00:00Z"})).await;
    assert_eq!(later["node"]["expiry"], "2099-01-01T00:00:00Z");
    assert_eq!(
        s.ok("POST /node/1/expire", json!({"disable_expiry": true})).await["node"]["expiry"],
        Value::Null
    );
    let (_, by_query) = s.ask("POST /node/1/expire?expiry=2098-01-01T00:00:00Z").await;
    assert_eq!(by_query["node"]["expiry"], "2098-01-01T00:00:00Z");
    s.refused(400, "POST /node/1/expire", json!({"expiry": "2099-01-01T00:00:00Z", "disableExpiry": true}))
        .await;
    s.refused(404, "POST /node/9/expire", json!({})).await;

    let unknown = s.refused(400, "POST /node/1/tags", json!({"tags": ["tag:a"]})).await;
    assert!(unknown.contains("`tag:a`"), "the tag is in no policy: {unknown}");
    let policy = r#"{"acls": [], "tagOwners": {"tag:a": [], "tag:b": []}}"#;
    s.ok("PUT /policy", json!({ "policy": policy })).await;
    let tagged = s.ok("POST /node/1/tags", json!({"tags": ["tag:b", "tag:a", "tag:b"]})).await;
    assert_eq!(tagged["node"]["tags"], json!(["tag:a", "tag:b"]));
    assert_eq!(tagged["node"]["user"]["name"], "tagged-devices");
    s.refused(400, "POST /node/1/tags", json!({"tags": []})).await;
    s.refused(400, "POST /node/1/tags", json!({"tags": ["nonsense"]})).await;
    s.refused(404, "POST /node/9/tags", json!({"tags": ["tag:a"]})).await;

    assert_eq!(s.ok("DELETE /node/1", json!({})).await, json!({}));
    s.refused(404, "DELETE /node/1", json!({})).await;
    s.refused(400, "POST /node/backfillips", json!({})).await;
    assert_eq!(s.ask("POST /node/backfillips?confirmed=true").await, (200, json!({"changes": []})));
}

#[tokio::test]
async fn routes_are_approved_by_prefix() {
    let s = network().await;
    let routes = json!({"routes": ["10.0.0.0/8", "0.0.0.0/0", "192.168.0.0/16"]});
    let node = s.ok("POST /node/1/approve_routes", routes).await["node"].take();
    assert_eq!(node["approvedRoutes"], json!(["0.0.0.0/0", "10.0.0.0/8", "192.168.0.0/16", "::/0"]));
    assert_eq!(node["subnetRoutes"], json!(["0.0.0.0/0", "10.0.0.0/8", "::/0"]));
    let none = s.ok("POST /node/1/approve_routes", json!({"routes": null})).await;
    assert_eq!(none["node"]["approvedRoutes"], json!([]));
    let (status, refusal) =
        s.send("POST /node/1/approve_routes", r#"{"routes":["10.0.0.0/8","10.0.0.1","x"]}"#).await;
    assert_eq!(status, 400);
    assert_eq!(refusal["errors"][0]["location"], "body.routes[1]");
    assert_eq!(refusal["errors"][1]["value"], "x");
}

#[tokio::test]
async fn routes_are_approved_by_id() {
    let s = network().await;
    let (_, listed) = s.ask("GET /routes").await;
    let listed = listed["routes"].as_array().unwrap().clone();
    assert_eq!(listed.len(), 3);
    let id_of = |prefix: &str| {
        let route = listed.iter().find(|r| r["prefix"] == prefix).unwrap();
        assert_eq!(
            (&route["advertised"], &route["enabled"], &route["node"]["givenName"]),
            (&json!(true), &json!(false), &json!("web"))
        );
        route["id"].as_str().unwrap().to_owned()
    };
    let (subnet, exit) = (id_of("10.0.0.0/8"), id_of("0.0.0.0/0"));
    assert_eq!(s.ok(&format!("POST /routes/{subnet}/enable"), json!({})).await, json!({}));
    s.ok(&format!("POST /routes/{exit}/enable"), json!({})).await;

    let (_, after) = s.ask("GET /node/1/routes").await;
    for route in after["routes"].as_array().unwrap() {
        assert_eq!(route["enabled"], true, "approving one default route approves both");
        assert_eq!(route["isPrimary"], route["prefix"] == "10.0.0.0/8");
    }
    s.ok(&format!("DELETE /routes/{exit}"), json!({})).await;
    assert_eq!(s.ask("GET /node/1").await.1["node"]["approvedRoutes"], json!(["10.0.0.0/8"]));
    s.ok(&format!("POST /routes/{subnet}/disable"), json!({})).await;
    assert_eq!(s.ask("GET /node/1").await.1["node"]["approvedRoutes"], json!([]));

    // The id of a route does not depend on the node's other routes.
    s.ok("POST /node/1/approve_routes", json!({"routes": ["1.0.0.0/8", "172.16.0.0/12"]})).await;
    let (_, more) = s.ask("GET /routes").await;
    let same = more["routes"].as_array().unwrap().iter().find(|r| r["prefix"] == "10.0.0.0/8").unwrap();
    assert_eq!(same["id"], subnet);
    for unknown in ["1", "99990001", "0"] {
        s.refused(404, &format!("POST /routes/{unknown}/enable"), json!({})).await;
    }
    s.refused(400, "POST /routes/x/enable", json!({})).await;
}

#[tokio::test]
async fn concurrent_approvals_are_both_kept() {
    let s = network().await;
    let (_, listed) = s.ask("GET /routes").await;
    let ids: Vec<String> =
        listed["routes"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect();
    let approve = async |s: &Server, line: String| s.ok(&line, json!({})).await;
    for verb in ["enable", "disable", "enable"] {
        let requests = ids.iter().map(|id| approve(&s, format!("POST /routes/{id}/{verb}")));
        futures_util::future::join_all(requests).await;
        let node = s.ask("GET /node/1").await.1["node"].take();
        let expected = if verb == "enable" { json!(["0.0.0.0/0", "10.0.0.0/8", "::/0"]) } else { json!([]) };
        assert_eq!(node["approvedRoutes"], expected, "{verb}");
    }
}

#[tokio::test]
async fn pending_logins_are_approved_by_every_form_of_their_id() {
    let s = Server::new();
    s.user("alice").await;
    let id = s.knock(1, host("one", &[])).await;
    let (_, pending) = s.ask("GET /auth/pending").await;
    assert_eq!(
        (&pending["pending"][0]["authId"], &pending["pending"][0]["source"]),
        (&json!(id), &json!("one"))
    );
    let node = s.ok("POST /auth/register", json!({"user": "alice", "authId": id})).await["node"].take();
    assert_eq!(
        (&node["registerMethod"], &node["user"]["name"]),
        (&json!("REGISTER_METHOD_CLI"), &json!("alice"))
    );
    assert_eq!(s.ask("GET /auth/pending").await.1, json!({"pending": []}));
    s.refused(400, "POST /auth/register", json!({"user": "alice", "authId": id})).await;

    let id = s.knock(2, host("two", &[])).await;
    let bare = id.strip_prefix("hskey-authreq-").unwrap();
    assert_eq!(s.ask(&format!("POST /node/register?user=alice&key={bare}")).await.0, 200);
    s.knock(3, host("three", &[])).await;
    assert_eq!(
        s.ask(&format!("POST /node/register?user=alice&key=nodekey:{}", "83".repeat(32))).await.0,
        200
    );
    s.knock(4, host("four", &[])).await;
    assert_eq!(s.ask(&format!("POST /node/register?user=1&key=mkey:{}", "04".repeat(32))).await.0, 200);
}

#[tokio::test]
async fn what_a_login_asks_for_is_listed_and_what_was_granted_is_answered() {
    let s = Server::new();
    s.user("alice").await;
    let policy = r#"{"tagOwners": {"tag:router": ["alice@"]},
        "autoApprovers": {"routes": {"10.0.0.0/8": ["tag:router"]}}}"#;
    s.ok("PUT /policy", json!({"policy": policy})).await;
    let routes = ["10.0.0.0/8", "192.168.0.0/24"];
    let asks =
        Hostinfo { request_tags: vec!["tag:router".into()], os: "linux".into(), ..host("one", &routes) };
    let id = s.knock(1, asks).await;
    let pending = s.ask("GET /auth/pending").await.1["pending"][0].take();
    assert_eq!(
        (&pending["authId"], &pending["source"], &pending["os"]),
        (&json!(id), &json!("one"), &json!("linux"))
    );
    assert_eq!(pending["keyFingerprint"], "01".repeat(8));
    assert_eq!(
        (&pending["requestedTags"], &pending["requestedRoutes"]),
        (&json!(["tag:router"]), &json!(routes))
    );
    let response = s.ok("POST /auth/register", json!({"user": "alice", "authId": id})).await;
    assert_eq!(response["node"]["tags"], json!(["tag:router"]));
    let granted = &response["granted"];
    assert_eq!((&granted["user"], &granted["tags"]), (&json!(""), &json!(["tag:router"])));
    assert_eq!(
        (&granted["approvedRoutes"], &granted["unapprovedRoutes"]),
        (&json!(["10.0.0.0/8"]), &json!(["192.168.0.0/24"]))
    );
}

#[tokio::test]
async fn a_key_does_not_stand_for_a_login_that_nobody_has_seen() {
    let s = Server::new();
    s.user("alice").await;
    s.knock(1, host("one", &[])).await;
    let id = s.knock(1, host("one", &["10.0.0.0/8"])).await;
    for key in [format!("mkey:{}", "01".repeat(32)), format!("nodekey:{}", "81".repeat(32))] {
        let line = format!("POST /node/register?user=alice&key={key}");
        let (status, problem) = s.ask(&line).await;
        assert_eq!(status, 400, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("several requests"), "{problem}");
    }
    s.ok("POST /auth/register", json!({"user": "alice", "authId": id})).await;
}

#[tokio::test]
async fn pending_logins_are_denied() {
    let s = Server::new();
    s.user("alice").await;
    let id = s.knock(1, host("one", &[])).await;
    s.refused(404, "POST /auth/register", json!({"user": "carol", "authId": id})).await;
    s.refused(400, "POST /auth/register", json!({"authId": id})).await;
    s.refused(400, "POST /auth/register", json!({"user": "alice", "authId": ""})).await;
    s.refused(400, "POST /auth/register", json!({"user": "alice", "authId": "nonsense"})).await;
    let unknown = format!("hskey-authreq-{}", "0".repeat(24));
    s.refused(404, "POST /auth/register", json!({"user": "alice", "authId": unknown})).await;
    s.refused(404, "POST /auth/approve", json!({"authId": unknown})).await;
    s.refused(404, "POST /auth/reject", json!({"authId": unknown})).await;
    assert!(s.refused(400, "POST /auth/approve", json!({"authId": id})).await.contains("auth register"));
    assert_eq!(s.ok("POST /auth/reject", json!({"auth_id": id})).await, json!({}));
    s.refused(400, "POST /auth/reject", json!({"authId": id})).await;

    let greedy = Hostinfo { request_tags: vec!["tag:x".into()], ..host("greedy", &[]) };
    let id = s.knock(2, greedy).await;
    s.refused(400, "POST /auth/register", json!({"user": "alice", "authId": id})).await;
    assert_eq!(s.ask("GET /node").await.1, json!({"nodes": []}));
}
