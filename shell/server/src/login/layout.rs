//! The layout of all pages. They load nothing from elsewhere.

use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use crate::http::browsers;

const STYLE: &str = ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;\
    margin:3rem auto;padding:0 1rem}pre{background:#8882;padding:1rem;overflow:auto;user-select:all}";

const ICON: &str = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><path fill='#2a7de1' \
    d='M7 1v10H1.5zM8.5 3.5 14 11H8.5z'/><path fill='#1b4f8f' d='M1 12.5h14L12.5 15h-9z'/></svg>";

/// A page with a title; the body is HTML.
pub fn page(status: StatusCode, title: &str, body: &str) -> Response {
    styled(status, title, "", body)
}

/// A page with styles of its own besides the common ones. Browsers do not store it: pages about pending logins name their
/// machines, and change.
pub fn styled(status: StatusCode, title: &str, style: &str, body: &str) -> Response {
    let style = format!("{STYLE}{style}");
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <link rel=icon type=\"image/svg+xml\" href=\"/favicon.ico\"><title>{title} – Headsail</title>\
         <style>{style}</style><h1>{title}</h1>{body}"
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, browsers::policy_with(&style)),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (status, headers, Html(html)).into_response()
}

/// `/favicon.ico`
pub async fn icon() -> Response {
    ([(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "max-age=86400")], ICON)
        .into_response()
}

/// Escapes text for HTML and XML, between tags and in attributes.
pub fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
        out
    })
}
