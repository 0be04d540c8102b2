//! `policy`

mod show;

use std::io::Read;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use headsail_api::client::ClientError;
use headsail_api::v1::policy::{CheckPolicyResponse, ExplainRequest, PolicyRequest, PolicyResponse};
use headsail_server::admin::offline::{self, Offline};
use serde_json::json;

use super::Ctx;
use crate::flags::Globals;
use crate::output::Outcome;
use crate::output::{self, Answer, Failure};
use crate::{connect, prompt};

#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Print the active policy
    #[command(visible_aliases = ["show", "view", "fetch"])]
    Get {
        #[command(flatten)]
        bypass: Bypass,
    },
    /// Replace the policy
    #[command(visible_aliases = ["put", "update"])]
    Set {
        #[command(flatten)]
        file: PolicyFile,
        #[command(flatten)]
        bypass: Bypass,
    },
    /// Check a policy, including its tests, without setting it
    Check {
        #[command(flatten)]
        file: PolicyFile,
        #[command(flatten)]
        bypass: Bypass,
    },
    /// Show what a policy would change, and for which nodes
    Preview {
        #[command(flatten)]
        file: PolicyFile,
    },
    /// Show whether a connection is allowed, and why
    Explain {
        /// The connecting node, user, tag, group or host
        source: String,
        /// The destination and port, for example server:22
        #[arg(value_name = "DESTINATION:PORT")]
        destination: String,
        /// The protocol, for example tcp, udp or icmp
        #[arg(long, default_value = "tcp")]
        proto: String,
        /// Use this policy instead of the active one
        #[arg(short, long)]
        file: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct PolicyFile {
    /// The policy file, or `-` for stdin
    #[arg(short, long)]
    pub file: PathBuf,
}

#[derive(Debug, Args)]
pub struct Bypass {
    /// Access the database directly; only while the server is not running
    #[arg(
        long = "bypass-server-and-access-database-directly",
        alias = "bypass-grpc-and-access-database-directly"
    )]
    pub bypass: bool,
}

/// Reads a policy. Returns its text and the name to use for it in messages.
fn read(file: &std::path::Path) -> Result<(String, String), Failure> {
    let name = if file.as_os_str() == "-" { "stdin".to_owned() } else { file.display().to_string() };
    let cannot = |why: String| Failure::new(format!("cannot read the policy `{name}`: {why}"));
    let at_most = headsail_policy::MAX_TEXT;
    let limit = at_most as u64 + 1;
    let mut text = String::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin().lock().take(limit).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|f| f.take(limit).read_to_string(&mut text))
    };
    let length = read.map_err(|e| cannot(e.to_string()))?;
    if length > at_most {
        return Err(cannot(format!("it is larger than {} MiB", at_most >> 20)));
    }
    Ok((text, name))
}

pub async fn run(command: PolicyCommand, ctx: &Ctx) -> Outcome {
    match command {
        PolicyCommand::Get { .. } => Ok(Answer::verbatim(ctx.client.get_policy().await?.policy)),
        PolicyCommand::Set { file, .. } => {
            let (policy, origin) = read(&file.file)?;
            let set = ctx.client.set_policy(&PolicyRequest { policy: policy.clone() }).await;
            updated(set, &policy, &origin)
        }
        PolicyCommand::Check { file, .. } => {
            let (policy, origin) = read(&file.file)?;
            let checked = ctx.client.check_policy(&PolicyRequest { policy: policy.clone() }).await;
            match checked {
                Err(ClientError::Unreachable(why)) => check_text_only(&policy, &origin, &why),
                checked => valid(checked, &policy, &origin),
            }
        }
        PolicyCommand::Preview { file } => {
            let (policy, origin) = read(&file.file)?;
            let preview = ctx.client.preview_policy(&PolicyRequest { policy: policy.clone() }).await;
            let preview = preview.map_err(|e| Failure::of_policy(e, &policy, &origin))?;
            warn(&preview.warnings, &policy, &origin);
            Ok(Answer::new(&preview, show::preview(&preview)))
        }
        PolicyCommand::Explain { source, destination, proto, file } => {
            let (policy, origin) = file.map_or_else(|| Ok(Default::default()), |f| read(&f))?;
            let request = ExplainRequest { source, destination, proto, policy: policy.clone() };
            let explained = ctx.client.explain_policy(&request).await;
            let explained = explained.map_err(|e| Failure::of_policy(e, &policy, &origin))?;
            Ok(Answer::new(&explained, show::explain(&explained)))
        }
    }
}

/// Runs a command against the database itself, if the command line asks for that.
pub fn bypass(command: &PolicyCommand, globals: &Globals) -> Option<Outcome> {
    match command {
        PolicyCommand::Get { bypass } if bypass.bypass => Some(get_offline(globals)),
        PolicyCommand::Set { file, bypass } if bypass.bypass => Some(set_offline(file, globals)),
        PolicyCommand::Check { file, bypass } if bypass.bypass => Some(check_offline(file, globals)),
        _ => None,
    }
}

fn database(globals: &Globals) -> Result<Offline, Failure> {
    Ok(Offline::open(connect::settings(globals)?)?)
}

fn get_offline(globals: &Globals) -> Outcome {
    Ok(Answer::verbatim(database(globals)?.policy().map_err(ClientError::Refused)?.policy))
}

fn set_offline(file: &PolicyFile, globals: &Globals) -> Outcome {
    let (policy, origin) = read(&file.file)?;
    if !prompt::confirm("Write the policy directly to the database, bypassing the server?", globals.force)? {
        return Ok(Answer::new(&json!({ "Result": "Policy not set" }), "Nothing was changed."));
    }
    updated(database(globals)?.set(&policy).map_err(ClientError::Refused), &policy, &origin)
}

fn check_offline(file: &PolicyFile, globals: &Globals) -> Outcome {
    let (policy, origin) = read(&file.file)?;
    valid(database(globals)?.check(&policy).map_err(ClientError::Refused), &policy, &origin)
}

/// Checks the text alone, which is all that can be checked without a server.
fn check_text_only(policy: &str, origin: &str, why: &str) -> Outcome {
    let checked = offline::check_text(policy).map_err(ClientError::Refused);
    let answer = valid(checked, policy, origin)?;
    output::remark(&format!(
        "note: only the text was checked, not its tests and users, because the server is unreachable: {why}"
    ));
    Ok(answer)
}

fn updated(set: Result<PolicyResponse, ClientError>, policy: &str, origin: &str) -> Outcome {
    let set = set.map_err(|e| Failure::of_policy(e, policy, origin))?;
    warn(&set.warnings, policy, origin);
    Ok(Answer::new(&set, "The policy was updated."))
}

fn valid(checked: Result<CheckPolicyResponse, ClientError>, policy: &str, origin: &str) -> Outcome {
    let checked = checked.map_err(|e| Failure::of_policy(e, policy, origin))?;
    warn(&checked.warnings, policy, origin);
    Ok(Answer::new(&checked, "The policy is valid."))
}

/// Shows warnings on stderr. With `-o`, they are part of the result.
fn warn(warnings: &[headsail_api::problem::Finding], policy: &str, origin: &str) {
    if let Some(text) = output::annotate(warnings, policy, origin) {
        output::remark(&text);
    }
}
