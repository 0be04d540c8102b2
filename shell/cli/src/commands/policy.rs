//! `policy`

mod show;

use std::io::Read;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use headsail_api::client::ClientError;
use headsail_api::v1::policy::{ExplainRequest, PolicyRequest};

use super::{Ctx, Outcome};
use crate::output::{self, Answer, Failure};

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
        /// Who connects: a node or a user
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

/// A policy larger than this is refused before it is read.
const MAX_POLICY: u64 = 10 << 20;

/// Reads a policy; its text and what to call it.
fn read(file: &std::path::Path) -> Result<(String, String), Failure> {
    let name = if file.as_os_str() == "-" { "stdin".to_owned() } else { file.display().to_string() };
    let cannot = |why: String| Failure::new(format!("cannot read the policy `{name}`: {why}"));
    let mut text = String::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin().lock().take(MAX_POLICY + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|f| f.take(MAX_POLICY + 1).read_to_string(&mut text))
    };
    let length = read.map_err(|e| cannot(e.to_string()))?;
    if length as u64 > MAX_POLICY {
        return Err(cannot(format!("it is larger than {} MiB", MAX_POLICY >> 20)));
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
            let set = set.map_err(|e| Failure::of_policy(e, &policy, &origin))?;
            warn(&set.warnings, &policy, &origin);
            Ok(Answer::new(&set, "The policy is in force."))
        }
        PolicyCommand::Check { file, .. } => {
            let (policy, origin) = read(&file.file)?;
            let checked = ctx.client.check_policy(&PolicyRequest { policy: policy.clone() }).await;
            let checked = checked.map_err(|e| Failure::of_policy(e, &policy, &origin))?;
            warn(&checked.warnings, &policy, &origin);
            Ok(Answer::new(&checked, "The policy is valid."))
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
            let explained = explained.map_err(|e: ClientError| Failure::of_policy(e, &policy, &origin))?;
            Ok(Answer::new(&explained, show::explain(&explained)))
        }
    }
}

/// Shows warnings to people; programs get them in the answer.
fn warn(warnings: &[headsail_api::problem::Fault], policy: &str, origin: &str) {
    if let Some(text) = output::annotate(warnings, policy, origin, true) {
        output::remark(&text);
    }
}
