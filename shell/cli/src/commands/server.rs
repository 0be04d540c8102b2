//! `health`, `version` and `completion`.

use clap::CommandFactory;
use headsail_api::paths;
use headsail_server::version::{Rust, THIS, Version};

use super::Ctx;
use crate::args::{Cli, program_name};
use crate::output::Outcome;
use crate::output::{Answer, Failure};

pub async fn health(ctx: &Ctx) -> Outcome {
    let health = ctx.client.health().await?;
    if !health.database_connectivity {
        return Err(Failure::new(format!(
            "the server is up, but its database is not working ({})",
            paths::HEALTH.path
        )));
    }
    Ok(Answer::new(&health, "The server and its database are working."))
}

pub fn version() -> Answer {
    let Version { version, commit, build_time, rust: Rust { os, arch, .. }, .. } = THIS;
    Answer::new(
        &THIS,
        format!(
            "headsail version {version}\ncommit: {commit}\nbuild time: {build_time}\nbuilt for: {os}/{arch}"
        ),
    )
}

pub fn completion(shell: clap_complete::Shell) -> Answer {
    let argv: Vec<_> = std::env::args_os().take(1).collect();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), program_name(&argv), &mut script);
    Answer::verbatim(String::from_utf8_lossy(&script).into_owned())
}
