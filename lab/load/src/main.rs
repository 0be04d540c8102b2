//! `headsail-load`: puts a control server under load and reports what that cost.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use headsail_load::client::Target;
use headsail_load::fleet::Fleet;
use headsail_load::measure::Meter;
use headsail_load::report::Report;
use headsail_load::scenario::{self, Join, PATIENCE};
use headsail_load::suite::{self, Plan};
use headsail_load::{Error, Result};

/// Puts a control server on this machine under load. Results are printed as lines of JSON, and as text on standard error.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    load: Load,
}

#[derive(Subcommand)]
enum Load {
    /// Start a server, run all loads and print a table
    Suite(SuiteArgs),
    /// Let nodes join
    Join(FleetArgs),
    /// Let a small fleet join, move and reconnect, and compare every view with a fresh map
    Check(FleetArgs),
    /// Let nodes join, then more nodes one by one
    LateJoin {
        #[command(flatten)]
        fleet: FleetArgs,
        /// How many nodes join late
        #[arg(long, default_value_t = 20)]
        late: usize,
    },
    /// Let nodes join, then change the endpoints of one of them
    Endpoints {
        #[command(flatten)]
        fleet: FleetArgs,
        /// Changes per second
        #[arg(long, value_delimiter = ',', default_value = "1,10,20")]
        rates: Vec<u32>,
        /// Changes at each rate
        #[arg(long, default_value_t = 20)]
        updates: u16,
    },
    /// Let nodes join, then cut all of them and let them reconnect at once
    Reconnect {
        #[command(flatten)]
        fleet: FleetArgs,
        /// How many times to repeat it
        #[arg(long, default_value_t = 3)]
        repeats: usize,
        /// Kill the server and start it again with this shell command, which must stay in the foreground
        #[arg(long, requires = "pid", value_name = "COMMAND")]
        restart: Option<String>,
    },
    /// Let nodes join, then measure the idle server
    Idle {
        #[command(flatten)]
        fleet: FleetArgs,
        /// How many seconds to measure
        #[arg(long, default_value_t = 20)]
        seconds: u64,
    },
    /// Let nodes join, then request full maps
    FullMap {
        #[command(flatten)]
        fleet: FleetArgs,
        /// How many maps to request
        #[arg(long, default_value_t = 50)]
        maps: usize,
    },
}

#[derive(Args)]
struct FleetArgs {
    /// The server, such as http://127.0.0.1:8080; only loopback addresses are accepted
    #[arg(long, value_name = "URL")]
    server: String,
    /// A reusable pre-auth key
    #[arg(long, env = "HEADSAIL_LOAD_AUTH_KEY", hide_env_values = true)]
    auth_key: String,
    /// Process id of the server, to measure its CPU time and memory
    #[arg(long)]
    pid: Option<u32>,
    /// How many nodes join
    #[arg(short = 'n', long = "n", default_value_t = 100)]
    nodes: usize,
    /// How many nodes join concurrently
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
}

#[derive(Args)]
struct SuiteArgs {
    /// The server binary to measure, a release build
    #[arg(long, value_name = "FILE")]
    server_bin: PathBuf,
    /// Fleet sizes
    #[arg(short = 'n', long = "n", value_delimiter = ',', default_value = "200,1000")]
    sizes: Vec<usize>,
    /// How many nodes join concurrently
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// How many nodes join late
    #[arg(long, default_value_t = 20)]
    late: usize,
    /// Do not pin server and load generator to one core each
    #[arg(long)]
    unpinned: bool,
    /// Duration of the idle load, in seconds
    #[arg(long, default_value_t = 20)]
    idle: u64,
}

fn main() -> ExitCode {
    raise_open_files();
    // One thread, so that on a machine with two cores the server has the other one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(Error::from).and_then(|runtime| runtime.block_on(run(Cli::parse().load)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("headsail-load: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(load: Load) -> Result<()> {
    match load {
        Load::Suite(args) => {
            let plan = Plan {
                server: args.server_bin,
                sizes: args.sizes,
                in_flight: args.in_flight,
                late: args.late,
                pinned: !args.unpinned,
                pause: Duration::from_secs(args.idle),
            };
            suite::run(&plan).await
        }
        Load::Join(args) => args.fleet(0).await.map(|_| ()),
        Load::Check(args) => {
            let mut fleet = args.empty_fleet(0).await?;
            show(scenario::check(&mut fleet, args.how()).await?)
        }
        Load::LateJoin { fleet: args, late } => {
            let mut fleet = args.fleet(late).await?;
            show(scenario::late_join(&mut fleet, args.meter()).await?)
        }
        Load::Endpoints { fleet: args, rates, updates } => {
            let mut fleet = args.fleet(0).await?;
            show(scenario::endpoints(&mut fleet, args.meter(), &rates, updates).await?)
        }
        Load::Reconnect { fleet: args, repeats, restart } => {
            let mut fleet = args.fleet(0).await?;
            match (restart, args.pid) {
                (Some(command), Some(pid)) => show(
                    scenario::after_restart(&mut fleet, async || replace(pid, &command, &args.server).await)
                        .await?,
                ),
                _ => show(scenario::reconnect(&mut fleet, args.meter(), repeats).await?),
            }
        }
        Load::Idle { fleet: args, seconds } => {
            let meter = args.meter().ok_or("the idle load needs `--pid`, the process id of the server")?;
            let empty = meter.memory();
            let fleet = args.fleet(0).await?;
            show(scenario::idle(&fleet, meter, empty, Duration::from_secs(seconds)).await)
        }
        Load::FullMap { fleet: args, maps } => {
            let fleet = args.fleet(0).await?;
            show(scenario::full_map(&fleet, args.meter(), maps).await?)
        }
    }
}

impl FleetArgs {
    fn meter(&self) -> Option<Meter> {
        self.pid.map(Meter::of)
    }

    /// A fleet that has joined, with `more` further nodes that have not.
    async fn fleet(&self, more: usize) -> Result<Fleet> {
        let mut fleet = self.empty_fleet(more).await?;
        show(scenario::join(&mut fleet, self.meter(), self.how()).await?)?;
        Ok(fleet)
    }

    fn how(&self) -> Join {
        Join { nodes: self.nodes, in_flight: self.in_flight }
    }

    async fn empty_fleet(&self, more: usize) -> Result<Fleet> {
        let target = Target::find(&self.server).await?;
        Fleet::new(target, &self.auth_key, self.nodes + more)
    }
}

fn show(report: Report) -> Result<()> {
    println!("{}", report.to_json());
    eprint!("{}", report.to_text());
    Ok(())
}

/// Kills a server, starts a new one with a shell command and waits until it answers. The new server is left running.
async fn replace(pid: u32, command: &str, url: &str) -> Result<Option<Meter>> {
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status()?;
    if !killed.success() {
        return Err(format!("could not kill process `{pid}`").into());
    }
    let child = Command::new("sh").args(["-c", &format!("exec {command}")]).spawn()?;
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = Target::find(url).await {
        if Instant::now() > deadline {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    eprintln!("the new server keeps running as process {}", child.id());
    Ok(Some(Meter::of(child.id())))
}

/// Raises the limit on open files as far as the system allows: every node needs one. A fleet that is still too large fails when
/// it connects.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
