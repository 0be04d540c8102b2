//! Starts a server of its own, runs every load against it, and stops it.

use std::io::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::Result;
use crate::client::Target;
use crate::fleet::Fleet;
use crate::measure::Meter;
use crate::report::{Report, markdown};
use crate::scenario::{self, Join};

/// A file system in memory, on Linux.
const MEMORY_DISK: &str = "/dev/shm";
/// How long a server may take to answer its first request.
const START_LIMIT: Duration = Duration::from_secs(30);
/// On a machine with at least two cores the server runs on one of these and this process on the other.
const SERVER_CORE: &str = "0";
const OWN_CORE: &str = "1";

/// How much to load.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server binary to measure.
    pub server: PathBuf,
    /// Fleet sizes, each measured with a fresh server.
    pub sizes: Vec<usize>,
    /// How many nodes join concurrently.
    pub in_flight: usize,
    /// How many nodes join late.
    pub late: usize,
    /// Whether to pin server and load generator to one core each.
    pub pinned: bool,
    /// Duration of the idle load.
    pub pause: Duration,
}

/// Runs all loads. Prints a line of JSON as each one ends, and a table at the end.
///
/// # Errors
/// The server does not start, or a load fails.
pub async fn run(plan: &Plan) -> Result<()> {
    let pinned = plan.pinned && std::thread::available_parallelism()?.get() > 1 && pin_self();
    let mut reports = Vec::new();
    for size in &plan.sizes {
        let done = one_size(plan, *size, pinned).await?;
        reports.extend(done);
    }
    println!("\n{}", markdown(&reports));
    Ok(())
}

async fn one_size(plan: &Plan, size: usize, pinned: bool) -> Result<Vec<Report>> {
    let mut server = Server::start(&plan.server, pinned).await?;
    let auth_key = server.auth_key()?;
    let meter = server.meter();
    let empty = meter.memory();
    let mut fleet = Fleet::new(Target::find(&server.url()).await?, &auth_key, size + plan.late)?;
    let mut reports = Vec::new();
    let mut keep = |report: Report| {
        println!("{}", report.to_json());
        reports.push(report);
    };
    let how = Join { nodes: size, in_flight: plan.in_flight };
    keep(scenario::join(&mut fleet, Some(meter), how).await?);
    keep(scenario::idle(&fleet, meter, empty, plan.pause).await);
    keep(scenario::full_map(&fleet, Some(meter), 50).await?);
    keep(scenario::endpoints(&mut fleet, Some(meter), &[1, 10, 20], 20).await?);
    let mut late = scenario::late_join(&mut fleet, Some(meter)).await?;
    late.nodes = size;
    keep(late);
    for mut report in [
        scenario::reconnect(&mut fleet, Some(meter), 3).await?,
        scenario::after_restart(&mut fleet, async || {
            server.kill()?;
            server.run().await?;
            Ok(Some(server.meter()))
        })
        .await?,
    ] {
        report.nodes = size;
        keep(report);
    }
    for error in fleet.board().errors() {
        eprintln!("error of a node: {error}");
    }
    Ok(reports)
}

/// Moves this process to the core that the server does not use.
fn pin_self() -> bool {
    let own = std::process::id().to_string();
    let moved =
        Command::new("taskset").args(["-a", "-c", "-p", OWN_CORE, &own]).stdout(Stdio::null()).status();
    moved.is_ok_and(|status| status.success())
}

/// A server in its own temporary folder. Dropping it kills the server and deletes the folder.
struct Server {
    program: PathBuf,
    pinned: bool,
    dir: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only when the process has already ended.
        let _ = self.kill();
    }
}

impl Server {
    async fn start(program: &Path, pinned: bool) -> Result<Server> {
        let memory = Path::new(MEMORY_DISK);
        let root = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let dir = tempfile::Builder::new().prefix("load").tempdir_in(root)?;
        let program =
            program.canonicalize().map_err(|e| format!("cannot find `{}`: {e}", program.display()))?;
        let mut server = Server { program, pinned, dir, port: free_port()?, child: None };
        server.configure()?;
        server.run().await?;
        Ok(server)
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("config.yaml")
    }

    fn configure(&self) -> Result<()> {
        let (dir, port) = (self.dir.path().display(), self.port);
        let (tls, stun, metrics) = (free_port()?, free_port()?, free_port()?);
        let text = format!(
            "server_url: http://127.0.0.1:{port}\nlisten_addr: 127.0.0.1:{port}\ntls_listen_addr: 127.0.0.1:{tls}\n\
             metrics_listen_addr: 127.0.0.1:{metrics}\nunix_socket: {dir}/socket\n\
             noise: {{private_key_path: {dir}/noise.key}}\nprefixes: {{v4: 100.64.0.0/10, v6: 'fd7a:115c:a1e0::/48'}}\n\
             database: {{type: sqlite, sqlite: {{path: {dir}/db.sqlite}}}}\n\
             derp:\n  auto_update_enabled: false\n  server: {{enabled: true, region_id: 999, region_code: load, \
             region_name: Load, stun_listen_addr: '127.0.0.1:{stun}', private_key_path: {dir}/derp.key, ipv4: 127.0.0.1}}\n\
             dns: {{magic_dns: true, base_domain: load.internal, override_local_dns: false}}\n\
             policy: {{mode: database}}\nlog: {{level: warn}}\n"
        );
        Ok(std::fs::File::create(self.config())?.write_all(text.as_bytes())?)
    }

    /// Starts the process and waits until it answers requests.
    async fn run(&mut self) -> Result<()> {
        let log = std::fs::File::options().create(true).append(true).open(self.dir.path().join("log"))?;
        let mut command = if self.pinned {
            let mut command = Command::new("taskset");
            command.args(["-c", SERVER_CORE]).arg(&self.program);
            command
        } else {
            Command::new(&self.program)
        };
        command.args(["serve", "--config"]).arg(self.config()).stdin(Stdio::null());
        self.child = Some(command.stdout(log.try_clone()?).stderr(log).spawn()?);
        let deadline = Instant::now() + START_LIMIT;
        while let Err(error) = Target::find(&self.url()).await {
            let ended = self.child.as_mut().is_none_or(|c| !matches!(c.try_wait(), Ok(None)));
            if ended || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
                return Err(format!("the server did not start: {error}\n{log}").into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Kills the process with SIGKILL.
    fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn meter(&self) -> Meter {
        // `taskset` replaces itself with the program that it starts, so this is the server's process id.
        Meter::of(self.child.as_ref().map_or(0, Child::id))
    }

    /// Creates a reusable pre-auth key with the server's own command line.
    fn auth_key(&self) -> Result<String> {
        self.command(&["users", "create", "load"])?;
        let key =
            self.command(&["preauthkeys", "create", "--user", "load", "--reusable", "--expiration", "24h"])?;
        let text = key.get("key").and_then(Value::as_str);
        Ok(text.ok_or_else(|| format!("`preauthkeys create` printed no key: {key}"))?.to_owned())
    }

    fn command(&self, words: &[&str]) -> Result<Value> {
        let mut command = Command::new(&self.program);
        let output = command.arg("--config").arg(self.config()).args(words).args(["-o", "json"]).output()?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("`{}` failed: {why}", words.join(" ")).into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// Finds a free port below those that Linux assigns to outgoing connections (`ip_local_port_range` in ip(7)): one of the load's
/// thousands of clients could otherwise take the port while the server restarts. Each process starts the search at a different
/// port, so that two of them rarely try the same one.
fn free_port() -> Result<u16> {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 32_768 - FIRST;
    let begin = std::process::id().wrapping_mul(101);
    for _ in 0..COUNT {
        let step = begin.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed)) % u32::from(COUNT);
        let port = FIRST + u16::try_from(step)?;
        if TcpListener::bind(("0.0.0.0", port)).is_ok() && UdpSocket::bind(("0.0.0.0", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(format!("no free port between {FIRST} and 32767").into())
}
