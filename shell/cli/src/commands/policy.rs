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

/// The commands on the policy.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Print the policy in force
    #[command(visible_aliases = ["show", "view", "fetch"])]
    Get {
        #[command(flatten)]
        bypass: Bypass,
    },
    /// Put another policy in force
    #[command(visible_aliases = ["put", "update"])]
    Set {
        #[command(flatten)]
        file: PolicyFile,
        #[command(flatten)]
        bypass: Bypass,
    },
    /// Check a policy, its tests included, without setting it
    Check {
        #[command(flatten)]
        file: PolicyFile,
        #[command(flatten)]
        bypass: Bypass,
    },
    /// Tell what a policy would change, and for whom
    Preview {
        #[command(flatten)]
        file: PolicyFile,
    },
    /// Tell whether a connection is allowed, and why
    Explain {
        /// Who connects: a node, user, tag, group or host
        source: String,
        /// Where to, such as server:22
        #[arg(value_name = "DESTINATION:PORT")]
        destination: String,
        /// The protocol
        #[arg(long, default_value = "tcp")]
        proto: String,
        /// Ask this policy instead of the one in force
        #[arg(short, long)]
        file: Option<PathBuf>,
    },
}

/// The file that holds a policy.
#[derive(Debug, Args)]
pub struct PolicyFile {
    /// The file, or `-` for stdin
    #[arg(short, long)]
    pub file: PathBuf,
}

/// Whether to go around the server.
#[derive(Debug, Args)]
pub struct Bypass {
    /// Open the database itself; only while the server does not run
    #[arg(
        long = "bypass-server-and-access-database-directly",
        alias = "bypass-grpc-and-access-database-directly"
    )]
    pub bypass: bool,
}

/// Reads a policy; its text and what to call it.
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

/// Runs a command on the policy.
pub async fn run(command: PolicyCommand, ctx: &Ctx) -> Outcome {
    match command {
        PolicyCommand::Get { .. } => Ok(Answer::verbatim(ctx.client.get_policy().await?.policy)),
        PolicyCommand::Set { file, .. } => {
            let (policy, origin) = read(&file.file)?;
            let set = ctx.client.set_policy(&PolicyRequest { policy: policy.clone() }).await;
            in_force(set, &policy, &origin)
        }
        PolicyCommand::Check { file, .. } => {
            let (policy, origin) = read(&file.file)?;
            let checked = ctx.client.check_policy(&PolicyRequest { policy: policy.clone() }).await;
            match checked {
                Err(ClientError::Unreachable(why)) => check_alone(&policy, &origin, &why),
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

/// Runs a command on the database itself, if it asks for that.
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
    if !prompt::confirm("Write the policy into the database, around the server?", globals.force)? {
        return Ok(Answer::new(&json!({ "Result": "Policy not set" }), "Nothing was changed."));
    }
    in_force(database(globals)?.set(&policy).map_err(ClientError::Refused), &policy, &origin)
}

fn check_offline(file: &PolicyFile, globals: &Globals) -> Outcome {
    let (policy, origin) = read(&file.file)?;
    valid(database(globals)?.check(&policy).map_err(ClientError::Refused), &policy, &origin)
}

/// What is left to check without a server: the text alone.
fn check_alone(policy: &str, origin: &str, why: &str) -> Outcome {
    let checked = offline::check_text(policy).map_err(ClientError::Refused);
    let answer = valid(checked, policy, origin)?;
    output::remark(&format!("note: only the text was checked, not its tests and users: {why}"));
    Ok(answer)
}

fn in_force(set: Result<PolicyResponse, ClientError>, policy: &str, origin: &str) -> Outcome {
    let set = set.map_err(|e| Failure::of_policy(e, policy, origin))?;
    warn(&set.warnings, policy, origin);
    Ok(Answer::new(&set, "The policy is in force."))
}

fn valid(checked: Result<CheckPolicyResponse, ClientError>, policy: &str, origin: &str) -> Outcome {
    let checked = checked.map_err(|e| Failure::of_policy(e, policy, origin))?;
    warn(&checked.warnings, policy, origin);
    Ok(Answer::new(&checked, "The policy is valid."))
}

/// Shows warnings to people; programs get them in the answer.
fn warn(warnings: &[headsail_api::problem::Finding], policy: &str, origin: &str) {
    if let Some(text) = output::annotate(warnings, policy, origin) {
        output::remark(&text);
    }
}
