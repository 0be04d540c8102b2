//! The top level of the command line. The commands of each noun are defined in its module under `commands`.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::{apikeys, auth, debug, generate, log, nodes, policy, preauthkeys, routes, users};
use crate::flags::Globals;
use crate::output::Format;

/// A self-hosted control server and DERP relay for Tailscale clients, and its admin tool.
#[derive(Debug, Parser)]
#[command(name = "headsail", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server
    Serve,
    /// Check the configuration without starting the server
    Configtest,
    /// Back up the database, even while the server is running
    Backup {
        /// The file to create; it must not exist yet
        file: PathBuf,
    },
    /// Check that the server and its database are working
    Health,
    /// Print the version of this program
    Version,
    /// Manage users
    #[command(name = "users", visible_alias = "user", aliases = ["namespaces", "namespace", "ns"])]
    Users(users::UsersArgs),
    /// Manage nodes
    #[command(name = "nodes", visible_alias = "node", aliases = ["machines", "machine"])]
    Nodes(nodes::NodesArgs),
    /// Manage routes by id
    #[command(name = "routes", visible_alias = "route", alias = "r")]
    Routes(routes::RoutesArgs),
    /// Manage pre-auth keys, which let nodes join without an interactive login
    #[command(name = "preauthkeys", visible_aliases = ["preauthkey", "authkey", "pre"])]
    PreAuthKeys(preauthkeys::PreAuthKeysArgs),
    /// Manage API keys, which give access to the admin API over the network
    #[command(name = "apikeys", visible_aliases = ["apikey", "api"])]
    ApiKeys(apikeys::ApiKeysArgs),
    /// Approve or reject pending logins and SSH checks
    #[command(subcommand)]
    Auth(auth::AuthCommand),
    /// Show, check, explain and set the policy
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Show who changed what, and when
    #[command(visible_alias = "audit")]
    Log(log::LogArgs),
    /// Generate keys
    #[command(subcommand, visible_alias = "gen")]
    Generate(generate::GenerateCommand),
    /// Commands for testing
    #[command(subcommand)]
    Debug(debug::DebugCommand),
    /// Print a shell completion script
    Completion {
        /// The shell to complete for
        shell: clap_complete::Shell,
    },
}

impl Cli {
    /// Parses a command line; its first word is the program name.
    ///
    /// # Errors
    /// The command line is invalid, or it asks for help or the version.
    pub fn read(argv: &[OsString]) -> Result<Cli, clap::Error> {
        let mut command = Cli::command().name(program_name(argv));
        Cli::from_arg_matches(&command.try_get_matches_from_mut(argv)?).map_err(|e| e.format(&mut command))
    }
}

/// The name to show in usage texts: `headscale` if the program was started under that name, otherwise `headsail`.
pub fn program_name(argv: &[OsString]) -> &'static str {
    match argv.first().map(Path::new).and_then(Path::file_stem) {
        Some(name) if name == OsStr::new("headscale") => "headscale",
        _ => "headsail",
    }
}

/// The output format that a command line asks for, even if the rest of it is invalid.
pub fn format_of(argv: &[OsString]) -> Option<Format> {
    let mut words = argv.iter().filter_map(|w| w.to_str());
    while let Some(word) = words.next() {
        let value = match word {
            "-o" | "--output" => words.next()?,
            _ => match word.strip_prefix("--output=").or_else(|| word.strip_prefix("-o")) {
                Some(value) => value.trim_start_matches('='),
                None => continue,
            },
        };
        return value.parse().ok();
    }
    None
}
