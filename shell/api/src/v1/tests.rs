//! The JSON that clients of Headscale 0.30 and of older releases expect and send.

use serde_json::json;

use super::apikey::{ApiKey, CreateApiKeyRequest, ExpireApiKeyRequest};
use super::auth::AuthRegisterRequest;
use super::node::{
    BackfillQuery, ExpireNodeRequest, ListNodesQuery, Node, NodeResponse, RegisterMethod, RegisterNodeQuery,
};
use super::policy::PolicyResponse;
use super::preauthkey::{CreatePreAuthKeyRequest, ExpirePreAuthKeyRequest, PreAuthKey};
use super::route::Route;
use super::user::{CreateUserRequest, ListUsersQuery, User, UserRef};

#[test]
fn users_are_written_as_headscale_writes_them() {
    let user = User {
        id: u64::MAX,
        name: "alice".into(),
        created_at: Some("2026-01-31T12:00:00.5Z".parse().unwrap()),
        ..User::default()
    };
    assert_eq!(
        serde_json::to_string(&user).unwrap(),
        concat!(
            r#"{"id":"18446744073709551615","name":"alice","createdAt":"2026-01-31T12:00:00.5Z","displayName":"","#,
            r#""email":"","providerId":"","provider":"","profilePicUrl":""}"#
        )
    );
    assert_eq!(serde_json::from_str::<User>(&serde_json::to_string(&user).unwrap()).unwrap(), user);
    let admin = serde_json::to_value(User { role: "admin".into(), ..user }).unwrap();
    assert_eq!(admin["role"], "admin", "a role is written if there is one");
}

#[test]
fn nodes_are_written_with_every_zero_value() {
    assert_eq!(
        serde_json::to_string(&NodeResponse::default()).unwrap(),
        concat!(
            r#"{"node":{"id":"0","machineKey":"","nodeKey":"","discoKey":"","ipAddresses":[],"name":"","user":null,"#,
            r#""lastSeen":null,"expiry":null,"preAuthKey":null,"createdAt":null,"#,
            r#""registerMethod":"REGISTER_METHOD_UNSPECIFIED","givenName":"","online":false,"approvedRoutes":[],"#,
            r#""availableRoutes":[],"subnetRoutes":[],"tags":[]}}"#
        )
    );
}

#[test]
fn keys_policies_and_routes_are_written_with_every_zero_value() {
    assert_eq!(
        serde_json::to_value(PreAuthKey { id: 3, ..PreAuthKey::default() }).unwrap(),
        json!({"user": null, "id": "3", "key": "", "reusable": false, "ephemeral": false, "used": false,
               "expiration": null, "createdAt": null, "aclTags": []})
    );
    assert_eq!(
        serde_json::to_value(ApiKey { id: 4, prefix: "hskey-api-x-***".into(), ..ApiKey::default() })
            .unwrap(),
        json!({"id": "4", "prefix": "hskey-api-x-***", "expiration": null, "createdAt": null, "lastSeen": null})
    );
    assert_eq!(
        serde_json::to_value(PolicyResponse::default()).unwrap(),
        json!({"policy": "", "updatedAt": null})
    );
    assert_eq!(
        serde_json::to_value(Route { id: 1, prefix: "10.0.0.0/8".into(), ..Route::default() }).unwrap(),
        json!({"id": "1", "node": null, "prefix": "10.0.0.0/8", "advertised": false, "enabled": false,
               "isPrimary": false})
    );
}

#[test]
fn responses_of_older_servers_are_parsed() {
    let node: Node = serde_json::from_value(json!({
        "id": 7, "given_name": "web", "ip_addresses": null, "expiry": "0001-01-01T00:00:00Z",
        "register_method": "SOMETHING_NEW", "forcedTags": ["tag:a"], "last_seen": "2026-01-31T14:00:00+02:00"
    }))
    .unwrap();
    assert_eq!((node.id, node.given_name.as_str(), node.expiry), (7, "web", None));
    assert_eq!(node.register_method, RegisterMethod::Unspecified);
    assert_eq!(node.last_seen, Some("2026-01-31T12:00:00Z".parse().unwrap()));
}

#[test]
fn requests_are_parsed_leniently() {
    let u: CreateUserRequest =
        serde_json::from_value(json!({"name": "a", "display_name": "A", "email": null, "more": 1})).unwrap();
    assert_eq!((u.display_name.as_str(), u.email.as_str()), ("A", ""));

    for user in [json!("7"), json!(7)] {
        let k: CreatePreAuthKeyRequest =
            serde_json::from_value(json!({"user": user, "acl_tags": null, "reusable": "true"})).unwrap();
        assert_eq!((k.user, k.reusable, k.acl_tags.len()), (Some(UserRef::Id(7)), true, 0));
    }
    for user in [json!(""), json!(0), json!("0"), json!(null)] {
        let k: CreatePreAuthKeyRequest = serde_json::from_value(json!({"user": user})).unwrap();
        assert_eq!(k.user, None);
    }
    let k: CreatePreAuthKeyRequest =
        serde_json::from_value(json!({"user": "bob", "expiration": "2026-01-31T12:00:00Z"})).unwrap();
    assert_eq!(k.user, Some(UserRef::Name("bob".into())));
    assert!(k.expiration.is_some());

    let k: CreateApiKeyRequest = serde_json::from_value(json!({"expiration": ""})).unwrap();
    assert_eq!(k.expiration, None);
    let k: ExpireApiKeyRequest = serde_json::from_value(json!({"id": "0", "prefix": "abc"})).unwrap();
    assert_eq!((k.id, k.prefix.as_str()), (None, "abc"));
    let k: ExpirePreAuthKeyRequest = serde_json::from_value(json!({"user": "1", "key": "abc"})).unwrap();
    assert_eq!((k.id, k.key.as_str()), (None, "abc"));
    let e: ExpireNodeRequest = serde_json::from_value(json!({"disable_expiry": true})).unwrap();
    assert!(e.disable_expiry);
    let a: AuthRegisterRequest = serde_json::from_value(json!({"user": "bob", "auth_id": "x"})).unwrap();
    assert_eq!(a.auth_id, "x");
}

#[test]
fn query_strings_are_parsed_like_bodies() {
    let q: ListUsersQuery = serde_urlencoded::from_str("id=7&name=&more=1").unwrap();
    assert_eq!(q, ListUsersQuery { id: Some(7), ..ListUsersQuery::default() });
    let q: RegisterNodeQuery = serde_urlencoded::from_str("user=12&key=hskey-authreq-x").unwrap();
    assert_eq!((q.user, q.key.as_str()), (Some(UserRef::Id(12)), "hskey-authreq-x"));
    let q: ListNodesQuery = serde_urlencoded::from_str("user=bob%40example.com").unwrap();
    assert_eq!(q.user, Some(UserRef::Name("bob@example.com".into())));
    let q: BackfillQuery = serde_urlencoded::from_str("confirmed=true").unwrap();
    assert!(q.confirmed);
    let q: ExpireNodeRequest = serde_urlencoded::from_str("disable_expiry=1&expiry=").unwrap();
    assert_eq!(q, ExpireNodeRequest { expiry: None, disable_expiry: true });
    let q: ExpireNodeRequest = serde_urlencoded::from_str("expiry=2026-01-31T12%3A00%3A00Z").unwrap();
    assert!(q.expiry.is_some());
    assert!(serde_urlencoded::from_str::<ListUsersQuery>("id=x").is_err());
}

#[test]
fn invalid_values_are_rejected() {
    assert!(serde_json::from_value::<ListUsersQuery>(json!({"id": "seven"})).is_err());
    assert!(serde_json::from_value::<ListUsersQuery>(json!({"id": -1})).is_err());
    assert!(serde_json::from_value::<ExpireNodeRequest>(json!({"disableExpiry": "perhaps"})).is_err());
    let e = serde_json::from_value::<ExpireNodeRequest>(json!({"expiry": "tomorrow"})).unwrap_err();
    assert_eq!(e.to_string(), "`tomorrow` is not a time; write it like 2026-01-31T12:00:00Z");
    let e = serde_json::from_value::<CreatePreAuthKeyRequest>(json!({"user": true})).unwrap_err();
    assert_eq!(e.to_string(), "invalid type: boolean `true`, expected a user: an id or a name");
}

#[test]
fn times_at_the_ends_of_the_calendar_are_clamped_or_rejected() {
    let read = |text: &str| {
        let request = json!({ "expiration": text });
        serde_json::from_value::<CreateApiKeyRequest>(request).map(|r| r.expiration)
    };
    let last = Some(crate::LAST_TIME);
    for text in [
        "9999-12-30T22:00:00.5Z",
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59.999999999Z",
        "9999-12-31T23:59:59-12:00",
    ] {
        assert_eq!(read(text).unwrap(), last, "{text}");
    }
    assert_eq!(read("9999-12-01T00:00:00Z").unwrap(), "9999-12-01T00:00:00Z".parse().ok());
    assert_eq!(read("0001-01-01T00:00:00Z").unwrap(), None);
    let refusal = read("0000-01-01T00:00:00Z").unwrap_err().to_string();
    assert!(refusal.starts_with("`0000-01-01T00:00:00Z` is before the year 1"), "{refusal}");
    for text in ["9999-12-31", "9999-12-31T23:59:59", "9999-13-31T23:59:59Z", "10000-01-01T00:00:00Z"] {
        assert!(read(text).is_err(), "{text}");
    }
}

#[test]
fn requests_omit_unset_fields() {
    assert_eq!(serde_json::to_string(&ExpireNodeRequest::default()).unwrap(), "{}");
    assert_eq!(
        serde_json::to_string(&ListUsersQuery { id: Some(1), ..Default::default() }).unwrap(),
        r#"{"id":"1"}"#
    );
    assert_eq!(
        serde_json::to_string(&CreatePreAuthKeyRequest { user: Some(UserRef::Id(1)), ..Default::default() })
            .unwrap(),
        r#"{"user":"1","reusable":false,"ephemeral":false,"aclTags":[]}"#
    );
}

#[test]
fn a_string_of_digits_is_a_user_id() {
    assert_eq!("12".parse(), Ok(UserRef::Id(12)));
    assert_eq!("+12".parse(), Ok(UserRef::Name("+12".into())));
    assert_eq!("99999999999999999999".parse(), Ok(UserRef::Name("99999999999999999999".into())));
    assert_eq!("a1".parse(), Ok(UserRef::Name("a1".into())));
}
