//! The pages as a browser sees them.

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::app::App;
use crate::http::public;
use crate::testing;

async fn get(app: &App, path: &str) -> (u16, HeaderMap, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = public(app.clone()).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status.as_u16(), parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn profiles_carry_the_address_and_the_domain_of_the_app() {
    let app = testing::app();
    let url = &app.tailnet.url;
    for (name, domain) in [
        ("ios", "io.tailscale.ipn.ios"),
        ("macos-app-store", "io.tailscale.ipn.macos"),
        ("macos-standalone", "io.tailscale.ipn.macsys"),
    ] {
        let (status, headers, text) = get(&app, &format!("/apple/{name}")).await;
        assert_eq!(status, 200, "{name}");
        assert_eq!(headers["content-type"], "application/x-apple-aspen-config; charset=utf-8");
        let file = format!("attachment; filename=\"headsail-{name}.mobileconfig\"");
        assert_eq!(headers["content-disposition"], file.as_str());
        let flat: String = text.split_whitespace().collect();
        assert!(flat.contains(&format!("<key>ControlURL</key><string>{url}</string>")), "{text}");
        assert!(flat.contains(&format!("<key>PayloadType</key><string>{domain}</string>")), "{text}");
        for tag in ["dict", "array", "key", "string", "plist"] {
            let opened = text.matches(&format!("<{tag}>")).count() + usize::from(tag == "plist");
            assert_eq!(opened, text.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        let (_, _, page) = get(&app, "/apple").await;
        assert!(page.contains(&format!("href=\"/apple/{name}\"")), "the page leads to {name}");
    }
    assert_eq!(get(&app, "/apple/watch").await.0, 404);
}

#[tokio::test]
async fn pages_tell_the_address_of_the_server() {
    let app = testing::app();
    let command = format!("tailscale login --login-server {}", app.tailnet.url);
    for path in ["/apple", "/windows"] {
        let (status, headers, page) = get(&app, path).await;
        assert_eq!((status, &headers["content-type"]), (200, &"text/html; charset=utf-8".parse().unwrap()));
        // An address of IPv6, where the machine has no other, is quoted for the shell.
        assert!(page.replace("&#39;", "").contains(&command), "{path}: {page}");
        assert!(!page.contains("src=") && !page.contains("href=\"http"), "{path} loads nothing");
    }
    let (_, _, page) = get(&app, "/windows").await;
    assert!(page.contains("-Name LoginURL"), "{page}");
    let (status, headers, icon) = get(&app, "/favicon.ico").await;
    assert_eq!((status, &headers["content-type"]), (200, &"image/svg+xml".parse().unwrap()));
    assert!(icon.starts_with("<svg"));
}

#[tokio::test]
async fn the_page_of_a_login_shows_what_it_asks_for() {
    let app = testing::app();
    let host = serde_json::json!({
        "Hostname": "web\u{202e}<b>", "OS": "linux", "RequestTags": ["tag:a", "tag:b"], "RoutableIPs": ["10.0.0.0/8"],
    });
    let response = testing::registers(&app.tailnet, 1, serde_json::json!({ "Hostinfo": host })).await;
    let path = response["AuthURL"].as_str().unwrap().strip_prefix(&app.tailnet.url).unwrap().to_owned();
    let (status, _, page) = get(&app, &path).await;
    assert_eq!(status, 200);
    for part in
        ["web\u{fffd}&lt;b&gt;", "<td>linux", "<td>tag:a, tag:b", "<td>10.0.0.0/8", "<td>0101010101010101…"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[tokio::test]
async fn pages_run_no_scripts_load_nothing_from_elsewhere_and_are_not_stored() {
    let app = testing::app();
    let url = testing::registers(&app.tailnet, 1, serde_json::json!({})).await["AuthURL"].clone();
    let login = url.as_str().unwrap().strip_prefix(app.tailnet.url.as_str()).unwrap().to_owned();
    for path in [login.as_str(), "/register/unknown", "/auth/unknown", "/apple", "/windows"] {
        let (_, headers, page) = get(&app, path).await;
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; frame-ancestors 'none'; "), "{path}: {policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("script-src"), "{path}: {policy}");
        assert_eq!(headers["cache-control"], "no-store", "{path}");
        // The only style sheet is the one that the policy allows, by its hash.
        let (_, rest) = page.split_once("<style>").unwrap();
        let (style, rest) = rest.split_once("</style>").unwrap();
        assert!(!rest.contains("<style") && !page.contains(" style=") && !page.contains("<script"), "{path}");
        assert_eq!(policy, crate::http::browsers::policy_with(style), "{path}");
    }
    for path in ["/", "/version", "/no-such-page"] {
        let (_, headers, _) = get(&app, path).await;
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; frame-ancestors 'none'"), "{path}: {policy}");
    }
}
