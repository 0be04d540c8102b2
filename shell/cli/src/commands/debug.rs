//! `debug`

use clap::Subcommand;
use headsail_api::UserRef;
use headsail_api::v1::debug::CreateDebugNodeRequest;

use super::{Ctx, Outcome, resolve};
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
            let node = ctx.client.create_debug_node(&request).await?.node;
            Ok(Answer::new(&node, format!("Node `{}` waits for its registration.", node.name)))
        }
        DebugCommand::PolicyEval => policy_eval(),
    }
}

/// `debug policy-eval`
pub fn policy_eval() -> Outcome {
    Err(Failure::new("not wired"))
}
