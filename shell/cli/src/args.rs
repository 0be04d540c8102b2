//! What can be typed: the top of the command line. The commands of each noun stand with their noun.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::{apikeys, auth, debug, generate, nodes, policy, preauthkeys, routes, users};
use crate::flags::Globals;
use crate::output::Format;

/// A control server, relay and admin tool for networks of Tailscale clients.
#[derive(Debug, Parser)]
#[command(name = "headsail", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server
    Serve,
    /// Check the configuration, without starting anything
    Configtest,
    /// Copy the database, also while the server runs
    Backup {
        /// The file to make; it must not be there yet
        file: PathBuf,
    },
    /// Ask the server whether it works
    Health,
    /// Tell the version of this program
    Version,
    /// Manage users
    #[command(name = "users", visible_alias = "user", aliases = ["namespaces", "namespace", "ns"])]
    Users(users::UsersArgs),
    /// Manage nodes
    #[command(name = "nodes", visible_alias = "node", aliases = ["machines", "machine"])]
    Nodes(nodes::NodesArgs),
    /// Manage routes by their ids
    #[command(name = "routes", visible_alias = "route", alias = "r")]
    Routes(routes::RoutesArgs),
    /// Manage auth keys, which let nodes in without a login
    #[command(name = "preauthkeys", visible_aliases = ["preauthkey", "authkey", "pre"])]
    PreAuthKeys(preauthkeys::PreAuthKeysArgs),
    /// Manage API keys, which open this interface over the network
    #[command(name = "apikeys", visible_aliases = ["apikey", "api"])]
    ApiKeys(apikeys::ApiKeysArgs),
    /// Answer logins and checks that wait for an administrator
    #[command(subcommand)]
    Auth(auth::AuthCommand),
    /// Read, check, explain and set the policy
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Generate keys
    #[command(subcommand, visible_alias = "gen")]
    Generate(generate::GenerateCommand),
    /// Help for tests
    #[command(subcommand)]
    Debug(debug::DebugCommand),
    /// Print a completion script for a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

impl Cli {
    /// Reads a command line, whose first word is the name of this program.
    ///
    /// # Errors
    /// A misuse, or a demand for help.
    pub fn read(argv: &[OsString]) -> Result<Cli, clap::Error> {
        let mut command = Cli::command().name(program_name(argv));
        Cli::from_arg_matches(&command.try_get_matches_from_mut(argv)?).map_err(|e| e.format(&mut command))
    }
}

/// The name under which this program was started, as far as it has one of its two names.
pub fn program_name(argv: &[OsString]) -> &'static str {
    match argv.first().map(Path::new).and_then(Path::file_stem) {
        Some(name) if name == OsStr::new("headscale") => "headscale",
        _ => "headsail",
    }
}

/// The output format that a command line asks for, even one that cannot be read.
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
