//! The commands, one module per noun: its flags, the requests it sends and the output it shows.

pub mod apikeys;
pub mod auth;
pub mod debug;
pub mod generate;
pub mod log;
pub mod nodes;
pub mod policy;
pub mod preauthkeys;
mod resolve;
pub mod routes;
mod server;
pub mod users;

use headsail_api::client::Client;

use crate::args::{Cli, Command};
use crate::flags::Globals;
use crate::output::{Failure, Format, Outcome};
use crate::{connect, serve};

/// The context of a command that talks to a server.
pub struct Ctx {
    pub client: Client,
    /// Whether to skip confirmation prompts.
    pub force: bool,
    /// How results are to be written, for commands that write them one by one.
    pub format: Format,
}

pub fn run(cli: Cli) -> Outcome {
    let Cli { globals, command } = cli;
    match command {
        Command::Serve => serve::serve(&globals),
        Command::Configtest => serve::configtest(&globals),
        Command::Backup { file } => serve::backup(&file, &globals),
        Command::Version => Ok(server::version()),
        Command::Generate(command) => generate::run(&command),
        Command::Completion { shell } => Ok(server::completion(shell)),
        Command::Debug(debug::DebugCommand::PolicyEval) => debug::policy_eval(),
        Command::Policy(command) => match policy::bypass(&command, &globals) {
            Some(outcome) => outcome,
            None => connect::runtime()?.block_on(run_remote(Command::Policy(command), &globals)),
        },
        command => connect::runtime()?.block_on(run_remote(command, &globals)),
    }
}

/// Runs a command that talks to a server.
async fn run_remote(command: Command, globals: &Globals) -> Outcome {
    let ctx = Ctx { client: connect::client(globals)?, force: globals.force, format: globals.output };
    match command {
        Command::Health => server::health(&ctx).await,
        Command::Users(args) => users::run(args.command, &ctx).await,
        Command::Nodes(args) => nodes::run(args, &ctx).await,
        Command::Routes(args) => routes::run(args.command, &ctx).await,
        Command::PreAuthKeys(args) => preauthkeys::run(args, &ctx).await,
        Command::ApiKeys(args) => apikeys::run(args.command, &ctx).await,
        Command::Auth(command) => auth::run(command, &ctx).await,
        Command::Policy(command) => policy::run(command, &ctx).await,
        Command::Log(args) => log::run(args, &ctx).await,
        Command::Debug(command) => debug::run(command, &ctx).await,
        Command::Serve
        | Command::Configtest
        | Command::Backup { .. }
        | Command::Version
        | Command::Generate(_)
        | Command::Completion { .. } => Err(Failure::new("this command does not talk to a server")),
    }
}
