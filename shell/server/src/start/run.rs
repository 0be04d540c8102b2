//! From the configuration to a running server: the only place where its parts are assembled.

use std::future::Future;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headsail_noise::Responder;
use headsail_store::sqlite::SqliteStore;
use headsail_store::{Fault, Store};
use headsail_tailnet::change::Change;
use headsail_tailnet::command::Command;
use headsail_tailnet::commit::Loaded;
use headsail_tailnet::model::settings::{GRACE_MILLIS, Settings as TailnetSettings};
use headsail_tailnet::tailnet::{Tailnet, revive};
use headsail_wire::derp_map::DerpMap;
use headsail_wire::dns::DnsConfig;
use headsail_wire::keys::NodeKey;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};

use crate::app::{App, Process, TailnetService};
use crate::clerk::Clerk;
use crate::config::{self, Config, Source};
use crate::derp_map::MapSource;
use crate::relay::{Admission, Relay};
use crate::start::ServeError;
use crate::start::sockets::{LocalSocket, Sockets, forever};
use crate::start::{configured, welcome};
use crate::system::keys::PrivateKey;
use crate::system::{clock, files, keys};
use crate::tls::{self, Certificates};
use crate::{dns, http, listen, policy_file};

/// How long a graceful shutdown waits for the last commit.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Bound on log lines that wait to be written.
const LOG_LINES: usize = 16_384;
/// The limit on open files that the server asks the system for.
const OPEN_FILES: u64 = 65_536;
/// Open files that are reserved for everything but connections: the database, listeners, the command line, files and
/// URLs that are reloaded.
const KEPT_FILES: u64 = 128;
/// With fewer open files than this, a tailnet of some hundred nodes may reach the limit: each has two connections.
const FEW_FILES: u64 = 4096;

/// Why a server did not start, or stopped without being asked to.
#[derive(Debug)]
pub struct Ended {
    /// A message for the administrator.
    pub why: String,
    /// Whether it was logged. With JSON logs it is, because log collectors read nothing else.
    pub logged: bool,
}

/// Runs the server until it receives SIGTERM or SIGINT.
///
/// # Errors
/// The server could not start, or a part of it failed.
pub async fn serve(source: Source) -> Result<(), Ended> {
    let env = config::process_env();
    let (log, loaded) = config::load_with_log(&source, &env);
    // Dropped last, which flushes the lines that wait to be written.
    let _writer = start_log(&log);
    let served = match loaded {
        Ok(settings) => run(settings).await,
        Err(error) => Err(error.into()),
    };
    served.map_err(|error| {
        let why = error.to_string();
        let logged = log.json && tracing::enabled!(tracing::Level::ERROR);
        if logged {
            tracing::error!("{why}");
        }
        Ended { why, logged }
    })
}

async fn run(mut settings: Config) -> Result<(), ServeError> {
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let connections = announce_limit(raise_open_files());
    tls::install_provider();
    make_data_dir(&settings.data_dir)?;
    let noise_key = keys::load_or_create(&settings.noise_private_key_path)?;
    let noise = Responder::new(noise_key.bytes()).map_err(|e| format!("cannot use the noise key: {e}"))?;
    let relay_key =
        settings.derp.server.as_ref().map(|d| keys::load_or_create(&d.private_key_path)).transpose()?;
    let mut store = SqliteStore::open(&settings.database.path, store_options(&settings))?;
    let deferred_check = store.deferred_check();
    let loaded = store.load()?;

    let sockets = Sockets::open(&mut settings).await?;
    let (local, local_listener) = LocalSocket::open(&settings.unix_socket, settings.unix_socket_permission)?;
    let offers_tls = !sockets.tls.is_empty() || settings.listeners.http_offers_tls;
    let certificates = offers_tls.then(|| certificates(&settings, relay_key.as_ref())).transpose()?;
    let pin = certificates.as_ref().and_then(|c| c.pin());
    let mut derp = MapSource::new(settings.derp.clone(), sockets.relay_region(&settings, pin));
    let derp_map = derp.local()?;
    let dns = first_dns(&settings.dns)?;
    let policy_path = match &settings.policy {
        config::Policy::File(path) => path.clone(),
        config::Policy::Database => None,
    };
    let policy =
        policy_path.as_deref().map(|p| policy_file::first(p, &settings.policy_domains)).transpose()?;
    let mut tailnet = restore(&loaded, tailnet_settings(&settings, derp_map.clone(), dns));
    if let Some(row) = policy {
        tailnet.apply(&[Change::Policy(Arc::new(row))]);
    }
    let clerk = Clerk::start(tailnet, Box::new(store))
        .map_err(|e| format!("could not start the clerk thread: {e}"))?;
    if let Some(check) = deferred_check {
        look_for_damage(clerk.clone(), check)?;
    }
    let relay = relay_key.map(|key| Relay::new(*key.bytes(), admission(&settings, &clerk)));
    let app = App {
        process: Arc::new(Process { noise, relay: relay.clone(), bodies: Arc::default() }),
        tailnet: Arc::new(TailnetService::new(
            clerk.clone(),
            settings.server_url.text.clone(),
            settings.policy.clone(),
        )),
    };

    let mut tasks = JoinSet::new();
    sockets.serve(connections, &app, &settings, certificates.as_ref(), &mut tasks)?;
    if let Some(certificates) = &certificates {
        tasks.spawn(forever(certificates.clone().watch()));
    }
    tasks.spawn(forever(listen::local::accept(local_listener, http::local(app.tailnet.clone()))));
    configured::follow(&clerk, derp, derp_map, &settings, &mut tasks);
    if let Some(relay) = relay {
        tasks.spawn(expel_former_nodes(relay, verifies_clients(&settings), clerk.clone()));
    }
    if let Some(path) = policy_path.clone() {
        policy_file::confirm(&clerk, &path).await;
        tasks.spawn(forever(policy_file::watch(clerk.clone(), path)));
    }
    welcome::greet(&settings, &app.tailnet).await?;
    let ended = until_told_to_stop(&clerk, &mut tasks, || {
        reload(&clerk, certificates.as_ref(), policy_path.as_deref())
    })
    .await;
    close(&clerk).await;
    local.remove();
    ended
}

/// Saves who was connected, and closes the database.
async fn close(clerk: &Clerk) {
    if tokio::time::timeout(STOP_TIMEOUT, clerk.stop(Command::Shutdown)).await.is_err() {
        tracing::warn!("the database did not close in time; all acknowledged changes are saved");
    } else {
        tracing::info!("stopped");
    }
}

fn make_data_dir(dir: &Path) -> Result<(), ServeError> {
    let shown = dir.display();
    files::private_dir(dir).map_err(|e| format!("cannot use the data directory `{shown}`: {e}"))?;
    if let Some(mode) = files::open_to_others(dir) {
        tracing::warn!(
            "other users can replace keys in the data directory `{shown}` (mode {mode:04o}): run `chmod 700 {shown}`"
        );
    }
    Ok(())
}

/// The configured certificate, or a self-signed one for every name and address that clients may use.
fn certificates(settings: &Config, relay_key: Option<&PrivateKey>) -> Result<Arc<Certificates>, ServeError> {
    let relay = relay_key.map(|k| headsail_derp::Identity::new(*k.bytes()).public());
    let names = tls::certificate_names(&settings.server_url.host, &config::private_addresses());
    Ok(Certificates::open(&settings.certificate, &names, relay.as_ref().map(NodeKey::bytes))?)
}

/// Starts the log. A thread of its own writes it; if nothing reads the log (a full pipe, say), lines are dropped rather
/// than blocking the clerk or the shutdown.
fn start_log(log: &config::Log) -> WorkerGuard {
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(LOG_LINES).lossy(true).finish(io::stderr());
    let filter = tracing_subscriber::EnvFilter::try_from_env("HEADSAIL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(log.level.as_str()));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_target(false);
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // The library reports its own failures with a macro that panics if standard error is closed or full.
    let builder = builder.with_ansi(colours).log_internal_errors(false);
    // If a log was started in this process before, as in tests, that one stays.
    let _ = if log.json { builder.json().try_init() } else { builder.compact().try_init() };
    guard
}

/// Raises the limit on open files and returns the one in effect. Every stream and every relay client is an open file,
/// and the usual limit of 1024 is soon reached.
fn raise_open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(OPEN_FILES, |hard| hard.min(OPEN_FILES));
    let now = limit.current.unwrap_or(OPEN_FILES);
    if now >= wanted {
        return now;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::warn!("cannot raise the limit on open files, which stays at {now}: {error}");
            now
        }
    }
}

/// Logs how many connections the limit on open files allows, and warns if these are few.
fn announce_limit(open_files: u64) -> usize {
    let most = connections(open_files);
    if open_files < FEW_FILES {
        tracing::warn!(
            "the limit on open files is only {open_files}, so there may be no more than {most} connections at once: \
             raise the hard limit, for example with `LimitNOFILE=65536` in the systemd unit"
        );
    } else {
        tracing::info!("there may be up to {most} connections at once (limit on open files: {open_files})");
    }
    most
}

/// The bound on concurrent connections that leaves enough open files for everything else.
fn connections(open_files: u64) -> usize {
    let kept = KEPT_FILES.min(open_files / 2);
    usize::try_from((open_files - kept).min(OPEN_FILES)).unwrap_or(1).max(1)
}

/// Checks a large database while the server works already. The thread delays neither the shutdown nor anything else.
fn look_for_damage(
    clerk: Clerk,
    check: impl FnOnce() -> Result<(), Fault> + Send + 'static,
) -> io::Result<()> {
    let check = move || match check() {
        Ok(()) => tracing::info!("the database was checked, and is not damaged"),
        Err(fault @ (Fault::Busy(_) | Fault::Full(_))) => {
            tracing::warn!("the database could not be checked for damage: {fault}");
        }
        Err(fault) => {
            tracing::error!("{fault}");
            clerk.report_damage();
        }
    };
    std::thread::Builder::new().name("database check".into()).spawn(check).map(drop)
}

/// The tailnet from the rows of the store. Nodes that were connected get the grace period to reconnect.
fn restore(loaded: &Loaded, settings: TailnetSettings) -> Tailnet {
    let grace = settings.grace_millis;
    let mut tailnet = Tailnet::of(Arc::new(settings), loaded);
    let now = clock::now();
    let back: Vec<Change> =
        tailnet.nodes().map(|n| Change::Presence(n.id, revive(n.presence, now, grace))).collect();
    tailnet.apply(&back);
    tailnet
}

fn tailnet_settings(s: &Config, derp: DerpMap, dns: DnsConfig) -> TailnetSettings {
    let secs = |d: Duration| i64::try_from(d.as_secs()).unwrap_or(i64::MAX);
    TailnetSettings {
        base_domain: s.dns.base_domain.clone(),
        v4: s.prefixes.v4,
        v6: s.prefixes.v6,
        allocation: s.prefixes.allocation,
        dns: Arc::new(dns),
        user_names: s.dns.user_names,
        policy_domains: s.policy_domains.clone(),
        derp: Arc::new(derp),
        node_expiry: s.lifetimes.node_expiry.map(secs),
        ephemeral_timeout: secs(s.lifetimes.ephemeral),
        grace_millis: GRACE_MILLIS,
        taildrop: s.taildrop,
        auto_update: s.auto_update,
        ticket_secs: secs(s.pending_logins.lifetime),
        max_tickets: s.pending_logins.limit,
    }
}

/// Who may use the relay: everyone, or only registered nodes whose login has not expired.
fn admission(settings: &Config, clerk: &Clerk) -> Admission {
    let (verify, clerk) = (verifies_clients(settings), clerk.clone());
    Arc::new(move |key| !verify || clerk.snapshot().valid_node_by_key(&NodeKey::from_bytes(*key)).is_some())
}

/// The DNS settings at startup, including the records of the extra records file.
fn first_dns(settings: &config::Dns) -> Result<DnsConfig, ServeError> {
    let mut dns = dns::config(settings);
    if let Some(path) = &settings.extra_records_path {
        dns.extra_records = dns::load_extra_records(path)?;
    }
    Ok(dns)
}

fn verifies_clients(settings: &Config) -> bool {
    settings.derp.server.as_ref().is_some_and(|d| d.verify_clients)
}

/// Closes the relay connections of deleted nodes and, if clients are verified, those of nodes whose login has expired.
async fn expel_former_nodes(relay: Relay, verify: bool, clerk: Clerk) -> io::Result<()> {
    let mut snapshots = clerk.follow();
    let mut then = clerk.snapshot();
    while snapshots.changed().await.is_ok() {
        let now = snapshots.borrow_and_update().tailnet().clone();
        for key in now.keys_gone_since(&then) {
            if verify || now.node_by_key(&key).is_none() {
                relay.refuse(key.bytes());
            }
        }
        then = now;
    }
    Ok(())
}

/// Reloads the policy and the certificate, on SIGHUP.
async fn reload(clerk: &Clerk, certificates: Option<&Arc<Certificates>>, policy: Option<&Path>) {
    if let Some(certificates) = certificates {
        certificates.reload().await;
    }
    if let Some(path) = policy {
        policy_file::reload(clerk, path).await;
    }
}

async fn until_told_to_stop<F: Future<Output = ()>>(
    clerk: &Clerk,
    tasks: &mut JoinSet<io::Result<()>>,
    reload: impl Fn() -> F,
) -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return stopping("SIGTERM"),
            _ = interrupt.recv() => return stopping("SIGINT"),
            _ = hang_up.recv() => reload().await,
            failure = failure(clerk, tasks) => return Err(failure),
        }
    }
}

/// Waits until a part of the server fails. That ends the server, so that the service manager can restart it as a whole.
async fn failure(clerk: &Clerk, tasks: &mut JoinSet<io::Result<()>>) -> ServeError {
    loop {
        tokio::select! {
            () = clerk.ended() => return "the clerk thread has ended, so no change can be saved".into(),
            Some(ended) = tasks.join_next() => match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return format!("a listener failed: {error}").into(),
                Err(panicked) => return format!("a part of the server failed: {panicked}").into(),
            },
        }
    }
}

fn stopping(signal: &str) -> Result<(), ServeError> {
    tracing::info!("received {signal}, shutting down");
    Ok(())
}

fn store_options(settings: &Config) -> headsail_store::sqlite::Options {
    headsail_store::sqlite::Options {
        write_ahead_log: settings.database.write_ahead_log,
        wal_autocheckpoint: settings.database.wal_autocheckpoint,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn the_connection_limit_leaves_open_files_for_everything_else() {
        assert_eq!(connections(1024), 896);
        assert_eq!(connections(100), 50);
        assert_eq!(connections(u64::MAX), 65_536);
        assert_eq!(connections(0), 1);
    }

    #[tokio::test]
    async fn a_part_that_fails_ends_the_server() {
        let tailnet = testing::tailnet();
        let mut tasks = JoinSet::new();
        tasks.spawn(async { Ok(()) });
        tasks.spawn(async { panic!("a mistake") });
        let why = failure(&tailnet.clerk, &mut tasks).await.to_string();
        assert!(why.contains("panicked") && why.contains("a mistake"), "{why}");
        tasks.spawn(async { Err(io::ErrorKind::AddrInUse.into()) });
        assert!(failure(&tailnet.clerk, &mut tasks).await.to_string().contains("a listener failed"));
        tasks.spawn(std::future::pending());
        tailnet.clerk.stop(Command::Shutdown).await;
        assert!(failure(&tailnet.clerk, &mut tasks).await.to_string().contains("the clerk thread has ended"));
    }
}
