//! How to connect a device to this server: pages for platforms whose apps have no command line, and configuration profiles for
//! those of Apple.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::layout::{escape, page};
use crate::app::TailnetService;

/// A configuration profile for one of Apple's platforms.
struct Profile {
    /// Its name in the path.
    name: &'static str,
    /// The settings that it manages: the bundle id of the app, which reads `ControlURL` there.
    domain: &'static str,
    /// The platform, as shown to people.
    text: &'static str,
}

const PROFILES: [Profile; 3] = [
    Profile { name: "ios", domain: "io.tailscale.ipn.ios", text: "iPhone and iPad" },
    Profile { name: "macos-app-store", domain: "io.tailscale.ipn.macos", text: "macOS, the App Store app" },
    Profile {
        name: "macos-standalone",
        domain: "io.tailscale.ipn.macsys",
        text: "macOS, the standalone app",
    },
];

/// `/apple`: what to do on macOS, iOS and tvOS.
pub async fn apple(State(tailnet): State<Arc<TailnetService>>) -> Response {
    let url = &tailnet.url;
    let link = |p: &Profile| format!("<li><a href=\"/apple/{}\">{}</a>", p.name, p.text);
    let profiles: String = PROFILES.iter().map(link).collect();
    let defaults = |p: &Profile| format!("defaults write {} ControlURL {}\n", p.domain, escape(&quoted(url)));
    let defaults: String = PROFILES.iter().filter(|p| p.name != "ios").map(defaults).collect();
    let (word, url) = (escape(&shell_word(url)), escape(url));
    let body = format!(
        "<p>This server is <code>{url}</code>. There are three ways to connect an Apple device to it.\
         <h2>By hand</h2>\
         <p><b>macOS, in a terminal:</b></p><pre>tailscale login --login-server {word}</pre>\
         <p><b>macOS, in the menu bar:</b> hold the Option key, click the Tailscale icon, then <i>Debug</i>, \
         <i>Custom Login Server</i>, <i>Add Account…</i>, and enter the address above.\
         <p><b>iPhone and iPad:</b> open the app, tap the account at the top, log out if you are logged in, then choose \
         the custom coordination server from the menu at the top and enter the address above.\
         <p><b>Apple TV:</b> in the system's <i>Settings</i>, under <i>Apps</i> and <i>Tailscale</i>, enter the address \
         above as the alternate coordination server before you log in.\
         <h2>By a macOS setting</h2><p>Run the line for your kind of app before it starts; the first is for the App Store \
         app.</p>\
         <pre>{defaults}</pre>\
         <h2>By a profile</h2><p>A profile sets the address for every user of the device. It is not signed: review it \
         in the system settings before you install it.</p><ul>{profiles}</ul>"
    );
    page(StatusCode::OK, "Apple devices", &body)
}

/// `/apple/{profile}`: a configuration profile with the URL of this server.
pub async fn profile(State(tailnet): State<Arc<TailnetService>>, Path(name): Path<String>) -> Response {
    let Some(profile) = PROFILES.iter().find(|p| p.name == name) else {
        let names = PROFILES.map(|p| format!("<li><a href=\"/apple/{0}\">{0}</a>", p.name)).concat();
        return page(
            StatusCode::NOT_FOUND,
            "No such profile",
            &format!("<p>The profiles are:<ul>{names}</ul>"),
        );
    };
    let headers = [
        (header::CONTENT_TYPE, "application/x-apple-aspen-config; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"headsail-{name}.mobileconfig\"")),
    ];
    (headers, property_list(profile, &tailnet.url)).into_response()
}

/// `/windows`: what to do on Windows.
pub async fn windows(State(tailnet): State<Arc<TailnetService>>) -> Response {
    let url = &tailnet.url;
    let script = format!(
        "$key = 'HKLM:\\SOFTWARE\\Policies\\Tailscale'\n\
         New-Item -Path $key -Force | Out-Null\n\
         New-ItemProperty -Path $key -Name LoginURL -PropertyType String -Force -Value {}\n\
         New-ItemProperty -Path $key -Name UnattendedMode -PropertyType String -Force -Value 'always'\n\
         Restart-Service Tailscale\n",
        quoted(url)
    );
    let (word, url, script) = (escape(&shell_word(url)), escape(url), escape(&script));
    let body = format!(
        "<p>This server is <code>{url}</code>.\
         <h2>In a terminal</h2><p>Install Tailscale, then:</p><pre>tailscale login --login-server {word}</pre>\
         <h2>By a policy</h2><p>This sets the address for every user of the machine, and keeps the machine connected while \
         nobody is logged in; omit the line with <code>UnattendedMode</code> if you do not want that. Run this in \
         PowerShell as administrator:</p><pre>{script}</pre><p>Then log in from the icon in the notification area."
    );
    page(StatusCode::OK, "Windows", &body)
}

/// Text as one word of PowerShell. A POSIX shell reads it alike as long as it has no quotes of its own, as is true of URLs.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The profile as a property list.
fn property_list(profile: &Profile, url: &str) -> String {
    let Profile { name, domain, text } = profile;
    let (outer, inner) = (uuid(&["profile", name, url]), uuid(&["settings", name, url]));
    let url = escape(url);
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>PayloadType</key>
	<string>Configuration</string>
	<key>PayloadVersion</key>
	<integer>1</integer>
	<key>PayloadIdentifier</key>
	<string>headsail.{name}</string>
	<key>PayloadUUID</key>
	<string>{outer}</string>
	<key>PayloadDisplayName</key>
	<string>Headsail</string>
	<key>PayloadDescription</key>
	<string>Lets Tailscale use the server {url} ({text}).</string>
	<key>PayloadRemovalDisallowed</key>
	<false/>
	<key>PayloadContent</key>
	<array>
		<dict>
			<key>PayloadType</key>
			<string>{domain}</string>
			<key>PayloadVersion</key>
			<integer>1</integer>
			<key>PayloadIdentifier</key>
			<string>headsail.{name}.settings</string>
			<key>PayloadUUID</key>
			<string>{inner}</string>
			<key>PayloadEnabled</key>
			<true/>
			<key>ControlURL</key>
			<string>{url}</string>
		</dict>
	</array>
</dict>
</plist>
"#
    )
}

/// A UUID (RFC 9562, version 8) derived from some words: a profile that is fetched again is the same profile.
fn uuid(words: &[&str]) -> String {
    let digest = Sha256::digest(words.join("\n"));
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
    let number = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0b11 << 62) | 8 << 76 | 0b10 << 62;
    let hex = format!("{number:032X}");
    [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| hex.get(part).unwrap_or_default()).join("-")
}

/// A URL as one word of a shell: to zsh, the brackets of an IPv6 address are a pattern that matches no file. URLs have no quotes
/// of their own.
pub(crate) fn shell_word(url: &str) -> Cow<'_, str> {
    if url.contains('[') { Cow::Owned(format!("'{url}'")) } else { Cow::Borrowed(url) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_stable_and_well_formed() {
        let one = uuid(&["profile", "ios", "https://hs.example.com"]);
        assert_eq!(one, uuid(&["profile", "ios", "https://hs.example.com"]));
        assert_ne!(one, uuid(&["profile", "ios", "https://other.example.com"]));
        let parts: Vec<usize> = one.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{one}");
        assert_eq!(&one[14..15], "8");
        assert!("89AB".contains(&one[19..20]), "{one}");
    }

    #[test]
    fn a_profile_escapes_what_it_quotes() {
        let text = property_list(&PROFILES[0], "https://hs.example.com/?a&b<c");
        assert!(text.contains("<string>https://hs.example.com/?a&amp;b&lt;c</string>"), "{text}");
        assert_eq!(quoted("it's"), "'it''s'");
    }

    #[test]
    fn only_brackets_are_quoted() {
        assert_eq!(shell_word("http://192.168.1.5:8080"), "http://192.168.1.5:8080");
        assert_eq!(shell_word("http://[fd00::5]:8080"), "'http://[fd00::5]:8080'");
    }
}
