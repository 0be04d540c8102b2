//! What this program is, as `GET /version` and the command `version` tell it.

use serde::Serialize;

/// A build.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// The name of the program.
    pub product: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The commit it was built from, where the build was told in `HEADSAIL_COMMIT`.
    pub commit: &'static str,
    /// When it was built, where the build was told in `HEADSAIL_BUILD_TIME`.
    pub build_time: &'static str,
    /// What it is written for.
    pub rust: Rust,
    /// Whether it was built from more than the commit: the build was told in `HEADSAIL_DIRTY`.
    pub dirty: bool,
}

/// The language of a build, and its target.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rust {
    /// The version of Rust that it is written in: the oldest compiler that builds it.
    pub version: &'static str,
    /// The operating system, such as `linux`.
    pub os: &'static str,
    /// The processor, such as `x86_64`.
    pub arch: &'static str,
}

/// This build.
pub const THIS: Version = Version {
    product: "headsail",
    version: env!("CARGO_PKG_VERSION"),
    commit: known(option_env!("HEADSAIL_COMMIT")),
    build_time: known(option_env!("HEADSAIL_BUILD_TIME")),
    rust: Rust {
        version: env!("CARGO_PKG_RUST_VERSION"),
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
    },
    dirty: option_env!("HEADSAIL_DIRTY").is_some(),
};

const fn known(text: Option<&'static str>) -> &'static str {
    match text {
        Some(text) => text,
        None => "unknown",
    }
}
