//! Road 4: the only writer. It decides, commits to the store, applies to memory, publishes a snapshot, and answers.
//!
//! Commands that wait together are decided one after the other and committed together ([`headsail_tailnet::batch`]).
//! Readers never lock: they hold a snapshot, or wait for the next one. Callers are answered before streams are woken: a
//! thousand streams that render their deltas would delay the client that waits for its answer.

mod displaced;
pub mod health;
mod journal;
pub mod rates;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headsail_store::history::History;
use headsail_store::{Fault, Store};
use headsail_tailnet::actor::Actor;
use headsail_tailnet::batch::{Outcome, Request, Saved, settle};
use headsail_tailnet::command::{Command, Env, Rejection};
use headsail_tailnet::commit::{Commit, Since};
use headsail_tailnet::deadline::Deadlines;
use headsail_tailnet::decide::decide;
use headsail_tailnet::feed::Feed;
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::time::Time;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use self::displaced::Displaced;
use crate::clerk::rates::Rates;
use crate::system::clock;
use crate::system::random;

/// Commands that can wait for the clerk; later callers wait for room.
const QUEUE: usize = 4096;
/// Commands that are committed together at most.
const BATCH: usize = 256;
/// Rows that a deadline handles at once at most.
const DUE_AT_ONCE: usize = 1024;
/// The longest sleep of the clerk while nothing is due. So soon it notices that the system clock was set.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// How long a health check waits.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long due rows wait after the store refused a commit.
const RETRY_AFTER_FAULT: Duration = Duration::from_secs(1);

/// Why a command did not happen. Nothing has changed.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The request is invalid, or does not fit the tailnet as it is.
    Rejected(Rejection),
    /// The store refused the commit, or the server is stopping.
    Fault(String),
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Failure {
        Failure::Rejected(rejection)
    }
}

enum Job {
    /// Carry out a command.
    Carry { request: Request, answer: Answer },
    /// Report whether the store could save something now.
    Ping(oneshot::Sender<Result<(), Fault>>),
    /// Close the store, and report when that is done.
    Stop(oneshot::Sender<()>),
}

/// A handle to the clerk and to what it has published.
#[derive(Clone)]
pub struct Clerk {
    jobs: mpsc::Sender<Job>,
    feed: watch::Receiver<Feed>,
    history: Arc<dyn History>,
    counts: Arc<Counts>,
    displaced: Arc<AtomicU64>,
    is_damaged: Arc<AtomicBool>,
    too_often: Arc<AtomicU64>,
}

impl Clerk {
    /// Starts the clerk on a thread of its own, so that a slow disk blocks nothing else. The revision of `tailnet` is that
    /// of the store.
    ///
    /// # Errors
    /// The operating system could not start a thread.
    pub fn start(tailnet: Tailnet, store: Box<dyn Store>) -> io::Result<Clerk> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let history = store.history();
        let (mut worker, feed) = Worker::new(tailnet, store);
        let (counts, displaced) = (worker.counts.clone(), worker.displaced.count());
        let too_often = worker.too_often.clone();
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new().name("clerk".into()).spawn(move || {
            let stopped = runtime.block_on(worker.run(queue));
            // The store closes here, before the stop is confirmed.
            drop(worker);
            stopped.map(|told| told.send(()))
        })?;
        Ok(Clerk { jobs, feed, history, counts, displaced, is_damaged: Arc::default(), too_often })
    }

    /// Waits until the clerk has stopped or panicked. Nothing can change after that.
    pub async fn ended(&self) {
        self.jobs.closed().await;
    }

    /// The current snapshot.
    pub fn snapshot(&self) -> Arc<Tailnet> {
        self.feed.borrow().tailnet().clone()
    }

    /// Follows snapshots, and the commits that lead from one to the next.
    pub fn follow(&self) -> watch::Receiver<Feed> {
        self.feed.clone()
    }

    /// How many pending logins were pushed out by those of other machines.
    pub fn displaced_logins(&self) -> u64 {
        self.displaced.load(Ordering::Relaxed)
    }

    /// The change log, which can be read while the clerk works.
    pub fn history(&self) -> Arc<dyn History> {
        self.history.clone()
    }

    /// How many changes of each kind were published since the server started.
    pub fn change_counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many changes of machines were refused because they came too often.
    pub fn changes_refused(&self) -> u64 {
        self.too_often.load(Ordering::Relaxed)
    }

    /// Carries out a command, and returns the first snapshot that includes it.
    ///
    /// # Errors
    /// The command was rejected or could not be saved. Nothing has changed.
    pub async fn submit(&self, actor: Actor, command: Command) -> Result<Arc<Tailnet>, Failure> {
        let (answer, wait) = oneshot::channel();
        let stopped = || Failure::Fault("the server is stopping; try again in a moment".into());
        let request = Request { actor, command };
        self.jobs.send(Job::Carry { request, answer }).await.map_err(|_| stopped())?;
        wait.await.map_err(|_| stopped())?
    }

    /// Notes that the store was found to be damaged: from now on, the server is not healthy.
    pub fn report_damage(&self) {
        self.is_damaged.store(true, Ordering::Relaxed);
    }

    /// Whether the clerk answers in time, and its store could save something now and is not damaged.
    pub async fn is_healthy(&self) -> bool {
        if self.is_damaged.load(Ordering::Relaxed) {
            return false;
        }
        let asked = async {
            let (answer, wait) = oneshot::channel();
            self.jobs.send(Job::Ping(answer)).await.is_ok() && matches!(wait.await, Ok(Ok(())))
        };
        tokio::time::timeout(HEALTH_TIMEOUT, asked).await.unwrap_or(false)
    }

    /// Carries out a last command, closes the store and stops. Later commands fail.
    pub async fn stop(&self, last: Command) {
        // If it is rejected there is nothing to save, and a store that fails is in the log.
        let _ = self.submit(Actor::Server, last).await;
        let (told, stopped) = oneshot::channel();
        if self.jobs.send(Job::Stop(told)).await.is_ok() {
            let _ = stopped.await;
        }
    }

    /// Carries out a command without waiting for its outcome.
    pub async fn notify(&self, actor: Actor, command: Command) {
        let (answer, _) = oneshot::channel();
        // This fails only if the server has stopped.
        let _ = self.jobs.send(Job::Carry { request: Request { actor, command }, answer }).await;
    }
}

/// Changes by kind.
type Counts = Mutex<BTreeMap<&'static str, u64>>;

struct Worker {
    tailnet: Tailnet,
    store: Box<dyn Store>,
    deadlines: Deadlines,
    counts: Arc<Counts>,
    publish: watch::Sender<Feed>,
    /// After the store has refused a commit, due rows wait until then.
    retry_at: Option<Instant>,
    displaced: Displaced,
    rates: Rates,
    too_often: Arc<AtomicU64>,
    journal: journal::Writer,
}

type Answer = oneshot::Sender<Result<Arc<Tailnet>, Failure>>;

impl Worker {
    fn new(tailnet: Tailnet, store: Box<dyn Store>) -> (Worker, watch::Receiver<Feed>) {
        let (publish, feed) = watch::channel(Feed::new(tailnet.clone()));
        let deadlines = Deadlines::of(&tailnet);
        let too_often = Arc::<AtomicU64>::default();
        let worker = Worker {
            tailnet,
            store,
            deadlines,
            counts: Arc::default(),
            publish,
            retry_at: None,
            displaced: Displaced::default(),
            rates: Rates::new(too_often.clone()),
            too_often,
            journal: journal::Writer::default(),
        };
        (worker, feed)
    }

    /// Works until it is told to stop, and returns the channel on which to confirm that; or until no caller is left.
    async fn run(&mut self, mut queue: mpsc::Receiver<Job>) -> Option<oneshot::Sender<()>> {
        let mut jobs = Vec::with_capacity(BATCH);
        loop {
            if let Ok(0) = tokio::time::timeout(self.sleep(), queue.recv_many(&mut jobs, BATCH)).await {
                return None;
            }
            // Due rows are handled even while commands keep arriving.
            self.add_due(&mut jobs);
            if let Some(told) = self.carry_out(&mut jobs) {
                return Some(told);
            }
        }
    }

    /// How long there is nothing to do unless a command arrives.
    fn sleep(&self) -> Duration {
        let due = self.deadlines.deadline().map_or(LONGEST_SLEEP, until);
        let pause = self.retry_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
        due.max(pause)
    }

    fn add_due(&mut self, jobs: &mut Vec<Job>) {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        // Where the store refuses, rows that it has to delete stay due, and must not stand before keys that expire.
        let limit = if self.retry_at.take().is_some() { usize::MAX } else { DUE_AT_ONCE };
        jobs.extend(self.deadlines.due(clock::now(), limit).into_iter().map(|row| {
            let (answer, _) = oneshot::channel();
            Job::Carry { request: Request { actor: Actor::Clock, command: Command::Due(row) }, answer }
        }));
    }

    /// Decides, commits and publishes a batch, and answers. If the clerk is to stop, returns the channel on which to confirm it.
    fn carry_out(&mut self, jobs: &mut Vec<Job>) -> Option<oneshot::Sender<()>> {
        let mut stop = None;
        let (mut requests, mut answers) = (Vec::with_capacity(jobs.len()), Vec::with_capacity(jobs.len()));
        for job in jobs.drain(..) {
            match job {
                Job::Carry { request, answer } => {
                    requests.push(request);
                    answers.push(answer);
                }
                // Here and below, the caller may have gone away. Its command is carried out all the same.
                Job::Ping(answer) => drop(answer.send(self.store.ping())),
                Job::Stop(told) => stop = Some(told),
            }
        }
        let now = clock::now();
        let (rates, at) = (&mut self.rates, Instant::now());
        let decide = |t: &Tailnet, command: &Command| {
            let changes = decide(t, command, &mut Env { now, rng: &mut random::fill })?;
            rates.check(t, command, &changes, (now, at)).map(|()| changes)
        };
        let settled = settle(&self.tailnet, &requests, now, decide, |commit| save(&mut *self.store, commit));
        let why = settled.fault.map(|fault| self.note_fault(&fault));
        let was = self.tailnet.clone();
        let (is_new, commit) = (settled.tailnet.version() != was.version(), Arc::new(settled.commit));
        if is_new {
            self.accept(settled.tailnet, settled.others, commit.clone());
        }
        let snapshot = self.publish.borrow().tailnet().clone();
        for (answer, outcome) in answers.into_iter().zip(settled.outcomes) {
            let _ = answer.send(match outcome {
                Outcome::Done => Ok(snapshot.clone()),
                Outcome::Rejected(rejection) => Err(Failure::Rejected(rejection)),
                Outcome::Unsaved => Err(Failure::Fault(why.clone().unwrap_or_default())),
            });
        }
        if is_new {
            self.publish.send_modify(|_| {});
            self.journal.log(&was, &commit);
            self.displaced.note(&was, &commit);
        }
        stop
    }

    /// Logs why the store refused, and returns the message for callers.
    fn note_fault(&mut self, fault: &Fault) -> String {
        tracing::error!("a change could not be saved: {fault}");
        // Later faults do not extend the pause, or a busy server would never handle its due rows.
        self.retry_at.get_or_insert_with(|| Instant::now() + RETRY_AFTER_FAULT);
        format!("the server could not save the change: {fault}")
    }

    /// Publishes a snapshot without waking the readers that wait for one, which is up to the caller.
    fn accept(&mut self, next: Tailnet, others: Vec<Since>, commit: Arc<Commit>) {
        for since in &others {
            match since {
                Since::Commits(commits) => {
                    commits.iter().for_each(|commit| self.deadlines.note(&next, commit.changes()));
                }
                Since::Rows(_) => self.deadlines = Deadlines::of(&next),
            }
        }
        self.deadlines.note(&next, commit.changes());
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        commit.changes().for_each(|change| *counts.entry(change.kind()).or_default() += 1);
        drop(counts);
        self.tailnet = next.clone();
        self.publish.send_if_modified(|feed| {
            *feed = feed.next(next, others, commit);
            false // wakes no reader yet
        });
    }
}

/// Commits. If another writer was faster, reads what it did.
fn save(store: &mut dyn Store, commit: &Commit) -> Saved<Fault> {
    match store.commit(commit) {
        Ok(()) => Saved::Yes,
        Err(fault @ Fault::Conflict { .. }) => match store.since(commit.parent()) {
            Ok(since) => Saved::Conflict { since, fault },
            Err(fault) => Saved::No(fault),
        },
        Err(fault) => Saved::No(fault),
    }
}

fn until(at: Time) -> Duration {
    Duration::from_micros(u64::try_from(at.since(clock::now())).unwrap_or(0)).min(LONGEST_SLEEP)
}

#[cfg(test)]
mod tests;
