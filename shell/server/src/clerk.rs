//! Road 4: the only writer. It decides, commits to the store, applies to memory, publishes a snapshot, and answers.
//!
//! Commands that wait together are decided one after the other and committed together. Readers never lock: they hold
//! a snapshot, or wait for the next one. Askers are answered before streams are woken: a thousand streams that render
//! their deltas would be in the way of the one whose client waits.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headsail_store::{Batch, Fault, Revision, Store};
use headsail_tailnet::change::{Change, Durability};
use headsail_tailnet::command::{Command, Env, Rejection};
use headsail_tailnet::deadline::Deadlines;
use headsail_tailnet::decide::decide;
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::time::Time;
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock;
use crate::random;

/// Commands that may wait for the clerk; whoever comes later waits for room.
const QUEUE: usize = 4096;
/// Commands that are committed together at most.
const BATCH: usize = 256;
/// Rows that a deadline handles at once at most.
const DUE_AT_ONCE: usize = 1024;
/// The longest sleep of the clerk where nothing is due.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);
/// How long a health check waits.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long due rows wait after the store refused.
const RETRY_AFTER_FAULT: Duration = Duration::from_secs(1);

/// Why a command did not happen.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The asker's fault.
    Rejected(Rejection),
    /// Ours: the store refused, or the server stops. Nothing has changed.
    Fault(String),
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Failure {
        Failure::Rejected(rejection)
    }
}

enum Job {
    /// Decide this.
    Carry { command: Command, actor: &'static str, answer: Answer },
    /// Say whether the store could save something now.
    Ping(oneshot::Sender<Result<(), Fault>>),
    /// Close the store, and say so.
    Stop(oneshot::Sender<()>),
}

/// The way to the clerk, and to what it has published.
#[derive(Clone)]
pub struct Clerk {
    jobs: mpsc::Sender<Job>,
    snapshots: watch::Receiver<Arc<Tailnet>>,
}

impl Clerk {
    /// Starts the clerk on a thread of its own, so that a slow disk holds up nobody else.
    /// `stored` is the revision of the store that `tailnet` was made of.
    pub fn start(tailnet: Tailnet, store: Box<dyn Store>, stored: Revision) -> Clerk {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (publish, snapshots) = watch::channel(Arc::new(tailnet.clone()));
        let deadlines = Deadlines::of(&tailnet);
        let mut worker = Worker { tailnet, store, stored, deadlines, publish, retry_at: None };
        let runtime = tokio::runtime::Handle::current();
        let spawned = std::thread::Builder::new().name("clerk".into()).spawn(move || {
            let stopped = runtime.block_on(worker.run(queue));
            // The store closes here, before anybody is told.
            drop(worker);
            stopped.map(|told| told.send(()))
        });
        if let Err(error) = spawned {
            tracing::error!("the clerk's thread can't be started: {error}");
        }
        Clerk { jobs, snapshots }
    }

    /// What is true now.
    pub fn snapshot(&self) -> Arc<Tailnet> {
        self.snapshots.borrow().clone()
    }

    /// Follows what becomes true.
    pub fn follow(&self) -> watch::Receiver<Arc<Tailnet>> {
        self.snapshots.clone()
    }

    /// Has a command carried out, and gives the first snapshot in which it is true.
    ///
    /// # Errors
    /// The rejection, or a fault of ours; then nothing has changed.
    pub async fn submit(&self, actor: &'static str, command: Command) -> Result<Arc<Tailnet>, Failure> {
        let (answer, wait) = oneshot::channel();
        let stopped = || Failure::Fault("the server is stopping; try again in a moment".into());
        self.jobs.send(Job::Carry { command, actor, answer }).await.map_err(|_| stopped())?;
        wait.await.map_err(|_| stopped())?
    }

    /// Whether the clerk answers in time, and its store could save something now.
    pub async fn is_healthy(&self) -> bool {
        let asked = async {
            let (answer, wait) = oneshot::channel();
            self.jobs.send(Job::Ping(answer)).await.is_ok() && matches!(wait.await, Ok(Ok(())))
        };
        tokio::time::timeout(HEALTH_TIMEOUT, asked).await.unwrap_or(false)
    }

    /// Carries out a last command, closes the store and stops. Whatever is asked later is answered with a fault.
    pub async fn stop(&self, actor: &'static str, last: Command) {
        // Where it is refused there is nothing to save, and a store that fails has said so.
        let _ = self.submit(actor, last).await;
        let (told, stopped) = oneshot::channel();
        if self.jobs.send(Job::Stop(told)).await.is_ok() {
            let _ = stopped.await;
        }
    }

    /// Has a command carried out whose answer nobody waits for.
    pub async fn notify(&self, actor: &'static str, command: Command) {
        let (answer, _) = oneshot::channel();
        // The only failure is a server that has stopped, which needs no telling.
        let _ = self.jobs.send(Job::Carry { command, actor, answer }).await;
    }
}

struct Worker {
    tailnet: Tailnet,
    store: Box<dyn Store>,
    stored: Revision,
    deadlines: Deadlines,
    publish: watch::Sender<Arc<Tailnet>>,
    /// Rows that are due wait until then after the store refused.
    retry_at: Option<Instant>,
}

type Answer = oneshot::Sender<Result<Arc<Tailnet>, Failure>>;

impl Worker {
    /// Works until it is stopped, and gives the way to say that it has; or until nobody is left to ask.
    async fn run(&mut self, mut queue: mpsc::Receiver<Job>) -> Option<oneshot::Sender<()>> {
        let mut jobs = Vec::with_capacity(BATCH);
        loop {
            let pause = self
                .retry_at
                .take()
                .map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
            let sleep = self.deadlines.deadline().map_or(LONGEST_SLEEP, until).max(pause);
            match tokio::time::timeout(sleep, queue.recv_many(&mut jobs, BATCH)).await {
                Ok(0) => return None,
                Ok(_) => {}
                Err(_) => {
                    let rows = self.deadlines.due(clock::now(), DUE_AT_ONCE);
                    if rows.is_empty() {
                        continue;
                    }
                    // One command for each row: where the disk refuses, those that need it hold up no others.
                    jobs.extend(rows.into_iter().map(|row| {
                        let (answer, _) = oneshot::channel();
                        Job::Carry { command: Command::Due(vec![row]), actor: "clock", answer }
                    }));
                }
            }
            if let Some(told) = self.carry_out(&mut jobs) {
                return Some(told);
            }
        }
    }

    /// Decides, commits and publishes a batch. Where the disk refuses, commands that need it have not happened; the
    /// ones that tell volatile facts alone hold all the same. Gives whoever wants the clerk to stop.
    fn carry_out(&mut self, jobs: &mut Vec<Job>) -> Option<oneshot::Sender<()>> {
        let mut stop = None;
        let before = self.publish.borrow().clone();
        let mut next = self.tailnet.clone();
        let mut decided: Vec<(Answer, Result<Vec<Change>, Failure>)> = Vec::with_capacity(jobs.len());
        let mut actors = BTreeSet::new();
        for job in jobs.drain(..) {
            let (command, answer) = match job {
                Job::Carry { command, actor: asker, answer } => {
                    actors.insert(asker);
                    (command, answer)
                }
                Job::Ping(answer) => {
                    let _ = answer.send(self.store.ping());
                    continue;
                }
                Job::Stop(told) => {
                    stop = Some(told);
                    continue;
                }
            };
            let mut env = Env { now: clock::now(), rng: &mut random::fill };
            let verdict = decide(&next, command, &mut env).map_err(Failure::Rejected);
            if let Ok(changes) = &verdict {
                next.apply(changes);
            }
            decided.push((answer, verdict));
        }
        let all: Vec<Change> =
            decided.iter().filter_map(|(_, v)| v.as_ref().ok()).flatten().cloned().collect();
        let actors = actors.into_iter().collect::<Vec<_>>().join(", ");
        match self.commit(&actors, &all) {
            Ok(()) => self.accept(next, &all),
            Err(fault) => self.accept_volatile(&mut decided, &fault),
        }
        let snapshot = self.publish.borrow().clone();
        for (answer, verdict) in decided {
            // Whoever asked may have gone away; what was decided holds all the same.
            let _ = answer.send(verdict.map(|_| snapshot.clone()));
        }
        if !Arc::ptr_eq(&snapshot, &before) {
            self.publish.send_modify(|_| {});
        }
        stop
    }

    fn accept_volatile(&mut self, decided: &mut [(Answer, Result<Vec<Change>, Failure>)], fault: &Fault) {
        tracing::error!("a change could not be saved: {fault}");
        self.retry_at = Some(Instant::now() + RETRY_AFTER_FAULT);
        let mut next = self.tailnet.clone();
        let mut kept = Vec::new();
        for (_, verdict) in decided {
            match verdict {
                Ok(changes) if changes.iter().any(|c| c.durability() == Durability::Durable) => {
                    *verdict = Err(Failure::Fault(format!("the server could not save the change: {fault}")));
                }
                Ok(changes) => {
                    next.apply(changes);
                    kept.append(changes);
                }
                Err(_) => {}
            }
        }
        self.accept(next, &kept);
    }

    fn commit(&mut self, actor: &str, changes: &[Change]) -> Result<(), Fault> {
        let batch = Batch { expected: self.stored, actor, at: clock::now(), changes };
        self.stored = self.store.commit(&batch)?;
        Ok(())
    }

    /// Makes the changes true for whoever looks. Those who wait for the next snapshot are woken by the caller.
    fn accept(&mut self, next: Tailnet, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        self.deadlines.note(&next, changes);
        self.tailnet = next;
        let snapshot = Arc::new(self.tailnet.clone());
        self.publish.send_if_modified(|published| {
            *published = snapshot;
            false // nobody is woken yet
        });
    }
}

fn until(at: Time) -> Duration {
    Duration::from_micros(u64::try_from(at.since(clock::now())).unwrap_or(0)).min(LONGEST_SLEEP)
}
