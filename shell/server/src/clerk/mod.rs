//! Road 4: the only writer. It decides, commits to the store, applies to memory, publishes a snapshot, and answers.
//!
//! Commands that wait together are decided one after the other and committed together. Readers never lock: they hold
//! a snapshot, or wait for the next one. Askers are answered before streams are woken: a thousand streams that render
//! their deltas would be in the way of the one whose client waits.

pub mod health;
mod journal;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use headsail_store::{Batch, Fault, Revision, Store};
use headsail_tailnet::batch::{Decided, Outcome};
use headsail_tailnet::change::Change;
use headsail_tailnet::command::{Command, Env, Rejection};
use headsail_tailnet::deadline::Deadlines;
use headsail_tailnet::decide::decide;
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::time::Time;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::system::clock;
use crate::system::random;

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
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(tailnet: Tailnet, store: Box<dyn Store>, stored: Revision) -> io::Result<Clerk> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (mut worker, snapshots) = Worker::new(tailnet, store, stored);
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new().name("clerk".into()).spawn(move || {
            let stopped = runtime.block_on(worker.run(queue));
            // The store closes here, before anybody is told.
            drop(worker);
            stopped.map(|told| told.send(()))
        })?;
        Ok(Clerk { jobs, snapshots })
    }

    /// Waits for the end of the clerk, after which nothing can change any more: it was stopped, or it has panicked.
    pub async fn ended(&self) {
        self.jobs.closed().await;
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
    /// After the store has refused, rows that are due wait until then.
    retry_at: Option<Instant>,
}

type Answer = oneshot::Sender<Result<Arc<Tailnet>, Failure>>;

impl Worker {
    fn new(
        tailnet: Tailnet,
        store: Box<dyn Store>,
        stored: Revision,
    ) -> (Worker, watch::Receiver<Arc<Tailnet>>) {
        let (publish, snapshots) = watch::channel(Arc::new(tailnet.clone()));
        let deadlines = Deadlines::of(&tailnet);
        (Worker { tailnet, store, stored, deadlines, publish, retry_at: None }, snapshots)
    }

    /// Works until it is stopped, and gives the way to say that it has; or until nobody is left to ask.
    async fn run(&mut self, mut queue: mpsc::Receiver<Job>) -> Option<oneshot::Sender<()>> {
        let mut jobs = Vec::with_capacity(BATCH);
        loop {
            if let Ok(0) = tokio::time::timeout(self.sleep(), queue.recv_many(&mut jobs, BATCH)).await {
                return None;
            }
            // Whatever has woken it: rows that are due don't wait for a moment in which nobody asks.
            self.add_due(&mut jobs);
            if let Some(told) = self.carry_out(&mut jobs) {
                return Some(told);
            }
        }
    }

    /// How long there is nothing to do unless somebody asks.
    fn sleep(&self) -> Duration {
        let due = self.deadlines.deadline().map_or(LONGEST_SLEEP, until);
        let pause = self.retry_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
        due.max(pause)
    }

    fn add_due(&mut self, jobs: &mut Vec<Job>) {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.retry_at = None;
        jobs.extend(self.deadlines.due(clock::now(), DUE_AT_ONCE).into_iter().map(|row| {
            let (answer, _) = oneshot::channel();
            Job::Carry { command: Command::Due(row), actor: "clock", answer }
        }));
    }

    /// Decides, commits and publishes a batch, and answers. Gives whoever wants the clerk to stop.
    fn carry_out(&mut self, jobs: &mut Vec<Job>) -> Option<oneshot::Sender<()>> {
        let mut stop = None;
        let mut decided = Decided::on(&self.tailnet);
        let (mut askers, mut actors) = (Vec::with_capacity(jobs.len()), BTreeSet::new());
        for job in jobs.drain(..) {
            match job {
                Job::Carry { command, actor, answer } => {
                    let mut env = Env { now: clock::now(), rng: &mut random::fill };
                    decided.add(decide(decided.tailnet(), command, &mut env));
                    actors.insert(actor);
                    askers.push(answer);
                }
                // Whoever asked may have gone away, here and below; what was decided holds all the same.
                Job::Ping(answer) => drop(answer.send(self.store.ping())),
                Job::Stop(told) => stop = Some(told),
            }
        }
        let actors = actors.into_iter().collect::<Vec<_>>().join(", ");
        let (settled, why) = match self.commit(&actors, &decided.changes()) {
            Ok(()) => (decided.saved(), String::new()),
            Err(fault) => {
                (decided.unsaved(&self.tailnet), format!("the server could not save the change: {fault}"))
            }
        };
        let was = self.publish.borrow().clone();
        let is_new = !settled.changes.is_empty();
        if is_new {
            self.accept(settled.tailnet, &settled.changes);
        }
        let snapshot = self.publish.borrow().clone();
        for (answer, outcome) in askers.into_iter().zip(settled.outcomes) {
            let _ = answer.send(match outcome {
                Outcome::Done => Ok(snapshot.clone()),
                Outcome::Rejected(rejection) => Err(Failure::Rejected(rejection)),
                Outcome::Unsaved => Err(Failure::Fault(why.clone())),
            });
        }
        if is_new {
            self.publish.send_modify(|_| {});
            journal::tell(&actors, &was, &settled.changes);
        }
        stop
    }

    fn commit(&mut self, actor: &str, changes: &[Change]) -> Result<(), Fault> {
        let batch = Batch { expected: self.stored, actor, at: clock::now(), changes };
        self.stored = self.store.commit(&batch).inspect_err(|fault| {
            tracing::error!("a change could not be saved: {fault}");
            // A pause that has begun is not made longer, or a busy server would never look at its rows.
            self.retry_at.get_or_insert_with(|| Instant::now() + RETRY_AFTER_FAULT);
        })?;
        Ok(())
    }

    /// Makes the changes true for whoever looks. Those who wait for the next snapshot are woken by the caller.
    fn accept(&mut self, next: Tailnet, changes: &[Change]) {
        self.deadlines.note(&next, changes);
        let snapshot = Arc::new(next.clone());
        self.tailnet = next;
        self.publish.send_if_modified(|published| {
            *published = snapshot;
            false // nobody is woken yet
        });
    }
}

fn until(at: Time) -> Duration {
    Duration::from_micros(u64::try_from(at.since(clock::now())).unwrap_or(0)).min(LONGEST_SLEEP)
}

#[cfg(test)]
mod tests;
