//! `debug`

use std::io::{BufRead, Write};

use clap::Subcommand;
use headsail_api::v1::debug::CreateDebugNodeRequest;
use headsail_api::v1::node::Node;
use headsail_api::{GO_ZERO_TIME, Timestamp, UserRef};

use super::{Ctx, resolve};
use crate::output::Outcome;
use crate::output::{Answer, Failure};

/// Commands for tests.
#[derive(Debug, Subcommand)]
pub enum DebugCommand {
    /// Make up a login that waits for its completion
    #[command(name = "create-node")]
    CreateNode {
        /// The host name
        #[arg(long)]
        name: String,
        /// Who is to own the node: name or id
        #[arg(short, long, short_alias = 'n', alias = "namespace")]
        user: UserRef,
        /// The id that the login is to have
        #[arg(short, long)]
        key: String,
        /// Routes that the node advertises
        #[arg(short, long, value_delimiter = ',')]
        route: Vec<String>,
    },
    /// Answer policy cases from stdin, one JSON object a line
    #[command(name = "policy-eval")]
    PolicyEval,
}

/// Runs a command that asks a server.
pub async fn run(command: DebugCommand, ctx: &Ctx) -> Outcome {
    match command {
        DebugCommand::CreateNode { name, user, key, route } => {
            let user = Some(UserRef::Name(resolve::user_name(ctx, &user).await?));
            let request = CreateDebugNodeRequest { user, key, name, routes: route };
            let node = not_yet(ctx.client.create_debug_node(&request).await?.node);
            Ok(Answer::new(&node, format!("Node `{}` waits for its registration.", node.name)))
        }
        DebugCommand::PolicyEval => policy_eval(),
    }
}

/// The node as the API shows it: nothing has happened to it yet, which is told as Go's zero time here alone. The client
/// reads that as no time at all, as older servers mean it.
fn not_yet(node: Node) -> Node {
    let zero = |t: Option<Timestamp>| t.or(Some(GO_ZERO_TIME));
    Node {
        last_seen: zero(node.last_seen),
        expiry: zero(node.expiry),
        created_at: zero(node.created_at),
        ..node
    }
}

/// `debug policy-eval`: one answer a line, each as soon as its question is read.
pub fn policy_eval() -> Outcome {
    let (stdin, stdout) = (std::io::stdin().lock(), std::io::stdout());
    let mut out = stdout.lock();
    for line in stdin.lines() {
        let line = line.map_err(|e| Failure::new(format!("cannot read a question: {e}")))?;
        if line.trim().is_empty() {
            continue;
        }
        let told = writeln!(out, "{}", headsail_policy::eval::answer(&line)).and_then(|()| out.flush());
        if told.is_err() {
            break;
        }
    }
    Ok(Answer::silent())
}
