//! `debug`

use std::io::{BufRead, Write};

use clap::Subcommand;
use headsail_api::v1::debug::CreateDebugNodeRequest;
use headsail_api::v1::node::Node;
use headsail_api::{GO_ZERO_TIME, Timestamp, UserRef};

use super::{Ctx, resolve};
use crate::output::Outcome;
use crate::output::{Answer, Failure};

#[derive(Debug, Subcommand)]
pub enum DebugCommand {
    /// Create a pending login, as if a client had asked for it
    #[command(name = "create-node")]
    CreateNode {
        /// The node's host name
        #[arg(long)]
        name: String,
        /// The user who will own the node: name or id
        #[arg(short, long, short_alias = 'n', alias = "namespace")]
        user: UserRef,
        /// The id of the pending login
        #[arg(short, long)]
        key: String,
        /// Routes that the node advertises
        #[arg(short, long, value_delimiter = ',')]
        route: Vec<String>,
    },
    /// Answer policy questions from stdin, one JSON object per line
    #[command(name = "policy-eval")]
    PolicyEval,
}

pub async fn run(command: DebugCommand, ctx: &Ctx) -> Outcome {
    match command {
        DebugCommand::CreateNode { name, user, key, route } => {
            let user = Some(UserRef::Name(resolve::user_name(ctx, &user).await?));
            let request = CreateDebugNodeRequest { user, key, name, routes: route };
            let node = with_zero_times(ctx.client.create_debug_node(&request).await?.node);
            Ok(Answer::new(&node, format!("Node `{}` is waiting to be registered.", node.name)))
        }
        DebugCommand::PolicyEval => policy_eval(),
    }
}

/// Restores the times of a pending node to what the API sent. Only for this operation, the API writes "never" as Go's zero
/// time rather than `null`; the client reads both as no time.
fn with_zero_times(node: Node) -> Node {
    let zero = |t: Option<Timestamp>| t.or(Some(GO_ZERO_TIME));
    Node {
        last_seen: zero(node.last_seen),
        expiry: zero(node.expiry),
        created_at: zero(node.created_at),
        ..node
    }
}

/// `debug policy-eval`: writes one answer per line and flushes it before reading the next question.
pub fn policy_eval() -> Outcome {
    let (stdin, stdout) = (std::io::stdin().lock(), std::io::stdout());
    let mut out = stdout.lock();
    for line in stdin.lines() {
        let line = line.map_err(|e| Failure::new(format!("cannot read from stdin: {e}")))?;
        if line.trim().is_empty() {
            continue;
        }
        let written = writeln!(out, "{}", headsail_policy::eval::answer(&line)).and_then(|()| out.flush());
        if written.is_err() {
            break;
        }
    }
    Ok(Answer::silent())
}
