//! Build information, as `GET /version` and `headsail version` report it.

use serde::Serialize;

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    pub product: &'static str,
    pub version: &'static str,
    /// The commit it was built from: `HEADSAIL_COMMIT` at build time, or `unknown`.
    pub commit: &'static str,
    /// When it was built: `HEADSAIL_BUILD_TIME` at build time, or `unknown`.
    pub build_time: &'static str,
    pub rust: Rust,
    /// Whether the working tree had uncommitted changes: `HEADSAIL_DIRTY` was set at build time.
    pub dirty: bool,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rust {
    /// The minimum supported Rust version, not that of the compiler in use.
    pub version: &'static str,
    /// The operating system, such as `linux`.
    pub os: &'static str,
    /// The processor, such as `x86_64`.
    pub arch: &'static str,
}

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
