//! The server's health, and this program itself.

use clap::CommandFactory;
use headsail_api::paths;
use serde_json::json;

use super::Ctx;
use crate::args::{Cli, program_name};
use crate::output::Outcome;
use crate::output::{Answer, Failure};

/// `health`
pub async fn health(ctx: &Ctx) -> Outcome {
    let health = ctx.client.health().await?;
    if !health.database_connectivity {
        return Err(Failure::new(format!(
            "the server answers, but its database does not ({})",
            paths::HEALTH.path
        )));
    }
    Ok(Answer::new(&health, "The server works and its database answers."))
}

/// The commit this was built from, where the build was told.
const COMMIT: &str = match option_env!("HEADSAIL_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
/// When this was built, where the build was told.
const BUILD_TIME: &str = match option_env!("HEADSAIL_BUILD_TIME") {
    Some(time) => time,
    None => "unknown",
};

/// `version`
pub fn version() -> Answer {
    let version = env!("CARGO_PKG_VERSION");
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let value = json!({
        "version": version,
        "commit": COMMIT,
        "buildTime": BUILD_TIME,
        "rust": { "version": env!("CARGO_PKG_RUST_VERSION"), "os": os, "arch": arch },
        "dirty": option_env!("HEADSAIL_DIRTY").is_some(),
    });
    Answer::new(
        &value,
        format!(
            "headsail version {version}\ncommit: {COMMIT}\nbuild time: {BUILD_TIME}\nbuilt for: {os}/{arch}"
        ),
    )
}

/// `completion SHELL`
pub fn completion(shell: clap_complete::Shell) -> Answer {
    let argv: Vec<_> = std::env::args_os().take(1).collect();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), program_name(&argv), &mut script);
    Answer::verbatim(String::from_utf8_lossy(&script).into_owned())
}
