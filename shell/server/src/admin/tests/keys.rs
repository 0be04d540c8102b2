//! Pre-auth keys and API keys.

use headsail_api::Timestamp;
use serde_json::{Value, json};

use super::{Server, host};

fn secs_until(time: &Value) -> i64 {
    let time: Timestamp = time.as_str().unwrap().parse().unwrap();
    time.as_second() - Timestamp::now().as_second()
}

#[tokio::test]
async fn a_preauth_key_shows_its_secret_only_when_created() {
    let s = Server::new();
    s.user("alice").await;
    let created = s.ok("POST /preauthkey", json!({"user": "1", "reusable": true})).await["preAuthKey"].take();
    let secret = created["key"].as_str().unwrap();
    assert!(secret.starts_with("hskey-auth-") && secret.len() == 11 + 12 + 1 + 64, "{secret}");
    assert_eq!(
        (&created["user"]["name"], &created["reusable"], &created["used"]),
        (&json!("alice"), &json!(true), &json!(false))
    );
    assert!((3590..=3600).contains(&secs_until(&created["expiration"])), "the default lifetime is an hour");

    let tagged =
        json!({"aclTags": ["tag:b", "tag:a"], "expiration": "2099-01-01T00:00:00Z", "ephemeral": true});
    let tagged = s.ok("POST /preauthkey", tagged).await["preAuthKey"].take();
    assert_eq!((&tagged["user"], &tagged["aclTags"]), (&Value::Null, &json!(["tag:a", "tag:b"])));
    assert_eq!((&tagged["expiration"], &tagged["ephemeral"]), (&json!("2099-01-01T00:00:00Z"), &json!(true)));

    let listed = s.ok("GET /preauthkey", json!({})).await;
    assert!(!listed.to_string().contains(secret));
    assert_eq!(listed["preAuthKeys"][0]["key"], format!("{}-***", &secret[..23]));
    let (_, of_alice) = s.ask("GET /preauthkey?user=alice").await;
    assert_eq!(of_alice["preAuthKeys"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn preauth_keys_are_expired_and_deleted() {
    let s = Server::new();
    s.user("alice").await;
    let mut secrets = Vec::new();
    for _ in 0..4 {
        let created = s.ok("POST /preauthkey", json!({"user": 1})).await;
        secrets.push(created["preAuthKey"]["key"].as_str().unwrap().to_owned());
    }
    assert_eq!(s.ok("POST /preauthkey/expire", json!({"id": "1"})).await, json!({}));
    s.ok("POST /preauthkey/expire", json!({"user": "1", "key": secrets[1]})).await;
    s.ok("POST /preauthkey/expire", json!({"key": format!("{}-***", &secrets[2][..23])})).await;
    let listed = s.ok("GET /preauthkey", json!({})).await;
    let over = |n: usize| secs_until(&listed["preAuthKeys"][n]["expiration"]) <= 0;
    assert_eq!([over(0), over(1), over(2), over(3)], [true, true, true, false]);

    assert_eq!(s.ask("DELETE /preauthkey?id=1").await, (200, json!({})));
    assert_eq!(s.ask("DELETE /preauthkey?id=1").await.0, 404);
    assert_eq!(s.ask("DELETE /preauthkey").await.0, 400);
    s.refused(400, "POST /preauthkey/expire", json!({})).await;
    s.refused(404, "POST /preauthkey/expire", json!({"id": 99})).await;
    s.refused(404, "POST /preauthkey/expire", json!({"key": "hskey-auth-nosuchkeyxxx-***"})).await;
    s.refused(400, "POST /preauthkey", json!({})).await;
    s.refused(404, "POST /preauthkey", json!({"user": "99"})).await;
    s.refused(404, "POST /preauthkey", json!({"user": "carol"})).await;
    s.refused(400, "POST /preauthkey", json!({"aclTags": ["web"]})).await;
    s.refused(400, "POST /preauthkey", json!({"user": "1", "expiration": "soon"})).await;
}

#[tokio::test]
async fn a_used_key_is_marked_used_and_masked_in_its_node() {
    let s = Server::new();
    s.user("alice").await;
    let node = s.join(1, json!({"user": "alice", "ephemeral": true}), host("web", &[])).await;
    let (_, shown) = s.ask(&format!("GET /node/{node}")).await;
    let key = &shown["node"]["preAuthKey"];
    assert!(key["key"].as_str().unwrap().ends_with("-***"));
    assert_eq!((&key["used"], &key["ephemeral"]), (&json!(true), &json!(true)));
}

#[tokio::test]
async fn api_keys_are_created_listed_expired_and_deleted() {
    let s = Server::new();
    let mut secrets = Vec::new();
    for _ in 0..3 {
        let created = s.ok("POST /apikey", json!({})).await;
        secrets.push(created["apiKey"].as_str().unwrap().to_owned());
    }
    let listed = s.ok("GET /apikey", json!({})).await;
    let first = &listed["apiKeys"][0];
    let masked = format!("{}-***", &secrets[0][..22]);
    assert_eq!(
        (&first["id"], &first["prefix"], &first["lastSeen"]),
        (&json!("1"), &json!(masked), &Value::Null)
    );
    let ninety_days = 90 * 24 * 3600;
    assert!((ninety_days - 10..=ninety_days).contains(&secs_until(&first["expiration"])));

    s.ok("POST /apikey/expire", json!({"prefix": masked})).await;
    s.ok("POST /apikey/expire", json!({"id": "2"})).await;
    let bare = &secrets[2][10..22];
    s.ok("POST /apikey/expire", json!({"prefix": bare})).await;
    let listed = s.ok("GET /apikey", json!({})).await;
    for key in listed["apiKeys"].as_array().unwrap() {
        assert!(secs_until(&key["expiration"]) <= 0);
    }
    assert_eq!(s.ask(&format!("DELETE /apikey/{bare}")).await, (200, json!({})));
    assert_eq!(s.ask(&format!("DELETE /apikey/{bare}")).await.0, 404);
    assert_eq!(s.ask("DELETE /apikey/-?id=1").await.0, 200);
    assert_eq!(s.ask("DELETE /apikey/-?id=1").await.0, 404);
    s.refused(400, "POST /apikey/expire", json!({})).await;
    s.refused(400, "POST /apikey/expire", json!({"id": "2", "prefix": "x"})).await;
    s.refused(404, "POST /apikey/expire", json!({"prefix": "x"})).await;
}

#[tokio::test]
async fn an_expiration_in_the_past_is_rejected() {
    let s = Server::new();
    s.user("alice").await;
    for past in ["2020-01-01T00:00:00Z", "0001-01-01T00:00:01Z"] {
        let detail = s.refused(400, "POST /apikey", json!({"expiration": past})).await;
        assert!(detail.contains(&format!("`{past}` is in the past")), "{detail}");
        let detail = s.refused(400, "POST /preauthkey", json!({"user": 1, "expiration": past})).await;
        assert!(detail.contains(&format!("`{past}` is in the past")), "{detail}");
    }
    let detail = s.refused(400, "POST /apikey", json!({"expiration": "0000-01-01T00:00:00Z"})).await;
    assert!(detail.contains("before the year 1"), "{detail}");
    assert_eq!(s.ok("GET /apikey", json!({})).await, json!({"apiKeys": []}));
    assert_eq!(s.ok("GET /preauthkey", json!({})).await, json!({"preAuthKeys": []}));
}

#[tokio::test]
async fn the_latest_representable_expiration_is_accepted() {
    let s = Server::new();
    s.user("alice").await;
    let last = "9999-12-31T23:59:59Z";
    s.ok("POST /apikey", json!({ "expiration": last })).await;
    let key = json!({"user": 1, "expiration": last, "reusable": true});
    let node = s.join(1, key, host("web", &[])).await;
    let shown = s.ok(&format!("POST /node/{node}/expire"), json!({ "expiry": last })).await;
    let far = |time: &Value| assert!(time.as_str().unwrap().starts_with("9999-12-30T22:00:00"), "{time}");
    far(&shown["node"]["expiry"]);
    far(&shown["node"]["preAuthKey"]["expiration"]);
    far(&s.ok("GET /apikey", json!({})).await["apiKeys"][0]["expiration"]);
    s.join(2, json!({"user": 1}), host("after", &[])).await;
}
