//! Users.

use serde_json::json;

use super::{Server, host};

#[tokio::test]
async fn are_created_listed_renamed_and_deleted() {
    let s = Server::new();
    let created =
        s.ok("POST /user", json!({"name": "alice", "display_name": "Alice", "email": "a@example.com"})).await;
    let user = &created["user"];
    assert_eq!(
        (&user["id"], &user["name"], &user["displayName"], &user["email"], &user["provider"]),
        (&json!("1"), &json!("alice"), &json!("Alice"), &json!("a@example.com"), &json!(""))
    );
    assert!(user["createdAt"].as_str().unwrap().ends_with('Z'));
    s.user("bob").await;

    let all = s.ok("GET /user", json!({})).await;
    assert_eq!(all["users"].as_array().unwrap().len(), 2);
    for (query, name) in [
        ("name=bob", "bob"),
        ("email=a%40example.com", "alice"),
        ("id=2", "bob"),
        // Only one filter is used, the name first.
        ("name=bob&id=1", "bob"),
    ] {
        let (_, found) = s.ask(&format!("GET /user?{query}")).await;
        assert_eq!(found["users"][0]["name"], name, "{query}");
        assert_eq!(found["users"].as_array().unwrap().len(), 1, "{query}");
    }
    assert_eq!(s.ask("GET /user?name=carol").await, (200, json!({"users": []})));

    let renamed = s.ok("POST /user/2/rename/robert", json!({})).await;
    assert_eq!((&renamed["user"]["id"], &renamed["user"]["name"]), (&json!("2"), &json!("robert")));
    s.ok("POST /user/robert/rename/rob", json!({})).await;
    assert_eq!(s.ok("DELETE /user/2", json!({})).await, json!({}));
    s.ok("DELETE /user/alice", json!({})).await;
    assert_eq!(s.ask("GET /user").await.1, json!({"users": []}));
}

#[tokio::test]
async fn get_roles() {
    let s = Server::new();
    s.user("alice").await;
    s.user("bob").await;
    let role = |role: &str| json!({"role": role});
    assert_eq!(s.ok("POST /user/1/role", role("owner")).await["user"]["role"], "owner");
    assert_eq!(s.ok("POST /user/bob/role", role("it-admin")).await["user"]["role"], "it-admin");
    let why = s.refused(400, "POST /user/bob/role", role("owner")).await;
    assert!(why.contains("`alice`"), "{why}");
    let why = s.refused(400, "POST /user/bob/role", role("boss")).await;
    assert!(why.contains("`boss` is not a role") && why.contains("`billing-admin`"), "{why}");
    s.refused(400, "POST /user/bob/role", json!({})).await;
    s.refused(404, "POST /user/carol/role", role("admin")).await;
    let bob = s.ok("POST /user/2/role", role("member")).await;
    assert!(bob["user"].get("role").is_none(), "members look as in Headscale: {bob}");
}

#[tokio::test]
async fn invalid_requests_are_rejected() {
    let s = Server::new();
    s.user("alice").await;
    assert!(s.refused(409, "POST /user", json!({"name": "alice"})).await.contains("`alice`"));
    s.refused(400, "POST /user", json!({"name": ""})).await;
    s.refused(400, "POST /user", json!({})).await;
    s.refused(400, "POST /user", json!({"name": ["x"]})).await;
    s.user("bob").await;
    s.refused(400, "POST /user/2/rename/alice", json!({})).await;
    s.refused(400, "POST /user/2/rename/-", json!({})).await;
    s.refused(404, "POST /user/77/rename/carol", json!({})).await;
    s.refused(404, "DELETE /user/77", json!({})).await;
    s.refused(404, "DELETE /user/carol", json!({})).await;
    assert_eq!(s.ask("GET /user?id=x").await.0, 400);
    s.join(1, json!({"user": "alice"}), host("web", &[])).await;
    assert!(s.refused(400, "DELETE /user/1", json!({})).await.contains("still owns 1 node"));
}
