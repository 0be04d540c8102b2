//! How many connections there may be at once, and who gives way when all places are taken.
//!
//! A connection is a stranger's until a registered node, an API key or an admitted relay client is known to be behind it.
//! Strangers may take every place that is free. When none is, those of the subscriber that has the most give way to the next
//! connection, idle ones first, so that nobody can shut out newcomers by holding places. Known connections never give way.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headsail_tailnet::model::source::subscriber;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A stranger's connection without a request is safe for this long after its last step: enough for a handshake over a slow
/// network, and short enough that a newcomer does not notice the wait.
const IDLE_AFTER: Duration = Duration::from_secs(1);
/// A stranger's connection with a request is safe for this long, and longer if its subscriber keeps to its share.
const BUSY_AFTER: Duration = Duration::from_secs(5);
/// A subscriber's strangers may use this part of all places, one in so many, for requests that take long.
const SHARE: usize = 4;
/// How many subscribers are searched for a connection that can give way, those with the most connections first. This bounds
/// the work of a newcomer when none can.
const SEARCHED: usize = 32;
/// How often a newcomer looks again whether somebody can give way.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// The log reports at most this often that strangers had to give way.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// The places of all listeners of a service.
pub struct Seats {
    limit: usize,
    state: Mutex<State>,
    freed: Notify,
    closed: AtomicU64,
}

struct State {
    taken: usize,
    next_id: u64,
    strangers: HashMap<u64, Stranger>,
    subscribers: HashMap<IpAddr, Subscriber>,
    /// The subscribers by their number of strangers.
    sizes: BTreeSet<(usize, IpAddr)>,
    /// When the log last reported closed connections, and how many there were since.
    reported: (Option<Instant>, u64),
}

/// A connection that may have to give way.
struct Stranger {
    subscriber: IpAddr,
    /// Its last step: it was accepted, finished TLS, or a request began or ended.
    since: Instant,
    /// Requests that are being answered.
    requests: usize,
    gives_way: Arc<GivesWay>,
}

/// The strangers of one subscriber, by their last step.
#[derive(Default)]
struct Subscriber {
    idle: BTreeSet<(Instant, u64)>,
    busy: BTreeSet<(Instant, u64)>,
}

#[derive(Default)]
struct GivesWay {
    now: AtomicBool,
    told: Notify,
}

/// A connection's place. A handler that takes a connection over from HTTP holds the place for as long as it serves it.
#[derive(Clone)]
pub struct Seat(Arc<Held>);

struct Held {
    seats: Arc<Seats>,
    id: u64,
    known: AtomicBool,
    gives_way: Arc<GivesWay>,
}

/// A request of a stranger that is being answered.
pub struct Busy(Seat);

impl Seats {
    pub fn new(limit: usize) -> Arc<Seats> {
        let state = State {
            taken: 0,
            next_id: 0,
            strangers: HashMap::new(),
            subscribers: HashMap::new(),
            sizes: BTreeSet::new(),
            reported: (None, 0),
        };
        Arc::new(Seats { limit, state: Mutex::new(state), freed: Notify::new(), closed: AtomicU64::new(0) })
    }

    /// How many connections there may be.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many connections there are.
    pub fn taken(&self) -> usize {
        self.state().taken
    }

    /// How many connections of strangers were closed to make room.
    pub fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }

    /// Takes a place for a new connection, and waits until there is one.
    pub async fn take(self: &Arc<Seats>, remote: IpAddr) -> Seat {
        let subscriber = subscriber(remote);
        loop {
            if let Some(seat) = self.try_take(subscriber) {
                return seat;
            }
            // A missed wake-up costs no more than this pause.
            let _ = tokio::time::timeout(LOOK_AGAIN, self.freed.notified()).await;
        }
    }

    fn try_take(self: &Arc<Seats>, subscriber: IpAddr) -> Option<Seat> {
        let now = Instant::now();
        let mut state = self.state();
        if state.taken >= self.limit {
            let id = state.first_to_give_way(now, self.limit / SHARE)?;
            let stranger = state.remove(id)?;
            stranger.gives_way.now.store(true, Ordering::Release);
            stranger.gives_way.told.notify_waiters();
            state.taken -= 1;
            self.closed.fetch_add(1, Ordering::Relaxed);
            state.report(now, self.limit, stranger.subscriber);
        }
        state.taken += 1;
        state.next_id += 1;
        let (id, gives_way) = (state.next_id, Arc::new(GivesWay::default()));
        state.insert(id, Stranger { subscriber, since: now, requests: 0, gives_way: gives_way.clone() });
        drop(state);
        Some(Seat(Arc::new(Held { seats: self.clone(), id, known: AtomicBool::new(false), gives_way })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The stranger that gives way to a newcomer: of the largest subscriber, the one that has been idle longest; if none is
    /// idle and the subscriber uses more than its share, the one whose request takes longest.
    fn first_to_give_way(&self, now: Instant, share: usize) -> Option<u64> {
        let waited = |first: Option<&(Instant, u64)>, least: Duration| {
            first.filter(|(since, _)| now.saturating_duration_since(*since) >= least).map(|(_, id)| *id)
        };
        self.sizes.iter().rev().take(SEARCHED).find_map(|(size, subscriber)| {
            let strangers = self.subscribers.get(subscriber)?;
            let busy = strangers.busy.first().filter(|_| *size > share);
            waited(strangers.idle.first(), IDLE_AFTER).or_else(|| waited(busy, BUSY_AFTER))
        })
    }

    fn insert(&mut self, id: u64, stranger: Stranger) {
        let (address, since) = (stranger.subscriber, stranger.since);
        let group = self.subscribers.entry(address).or_default();
        self.sizes.remove(&(group.len(), address));
        if stranger.requests == 0 { &mut group.idle } else { &mut group.busy }.insert((since, id));
        self.sizes.insert((group.len(), address));
        self.strangers.insert(id, stranger);
    }

    fn remove(&mut self, id: u64) -> Option<Stranger> {
        let stranger = self.strangers.remove(&id)?;
        let address = stranger.subscriber;
        if let Some(group) = self.subscribers.get_mut(&address) {
            self.sizes.remove(&(group.len(), address));
            group.idle.remove(&(stranger.since, id));
            group.busy.remove(&(stranger.since, id));
            match group.len() {
                0 => drop(self.subscribers.remove(&address)),
                left => drop(self.sizes.insert((left, address))),
            }
        }
        Some(stranger)
    }

    fn report(&mut self, now: Instant, limit: usize, subscriber: IpAddr) {
        let (last, count) = &mut self.reported;
        *count += 1;
        if last.is_none_or(|at| now.saturating_duration_since(at) >= REPORT_EVERY) {
            tracing::warn!(
                "all {limit} connections are in use; closed {count} that no registered node is behind, the last of \
                 `{subscriber}`"
            );
            self.reported = (Some(now), 0);
        }
    }
}

impl Subscriber {
    fn len(&self) -> usize {
        self.idle.len() + self.busy.len()
    }
}

impl Seat {
    /// A registered node, an API key or an admitted relay client is behind the connection: it never has to give way.
    pub fn recognise(&self) {
        if !self.0.known.swap(true, Ordering::Relaxed) {
            self.0.seats.state().remove(self.0.id);
        }
    }

    pub fn is_known(&self) -> bool {
        self.0.known.load(Ordering::Relaxed)
    }

    /// Notes that the connection got on with its handshakes.
    pub fn advances(&self) {
        self.step(|_| {});
    }

    /// Notes a request, which lasts until the value is dropped. Known connections need none of this.
    pub fn busy(&self) -> Option<Busy> {
        (!self.is_known()).then(|| {
            self.step(|stranger| stranger.requests += 1);
            Busy(self.clone())
        })
    }

    fn step(&self, edit: impl FnOnce(&mut Stranger)) {
        let mut state = self.0.seats.state();
        if let Some(mut stranger) = state.remove(self.0.id) {
            edit(&mut stranger);
            stranger.since = Instant::now();
            state.insert(self.0.id, stranger);
        }
    }

    /// Waits until the connection has to be closed to make room.
    pub async fn gives_way(&self) {
        let gives_way = &self.0.gives_way;
        let mut told = std::pin::pin!(gives_way.told.notified());
        // From here on no notification is missed.
        told.as_mut().enable();
        if !gives_way.now.load(Ordering::Acquire) {
            told.await;
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.step(|stranger| stranger.requests = stranger.requests.saturating_sub(1));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.seats.state();
        state.remove(self.id);
        // The place of a connection that gave way belongs to another one already.
        if !self.gives_way.now.load(Ordering::Acquire) {
            state.taken -= 1;
            drop(state);
            self.seats.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    async fn gave_way(seat: &Seat) -> bool {
        tokio::time::timeout(Duration::ZERO, seat.gives_way()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_largest_holder_gives_way_to_newcomers_and_known_connections_never_do() {
        let seats = Seats::new(6);
        let honest = seats.take(ip("198.51.100.1")).await;
        let known = seats.take(ip("2001:db8::9")).await;
        known.recognise();
        let mut held = Vec::new();
        for n in 1..=4 {
            held.push(seats.take(ip(&format!("2001:db8::{n}"))).await);
        }
        assert_eq!(seats.taken(), 6);
        for n in 0..4 {
            let newcomer = seats.take(ip("2001:db8::ffff")).await;
            assert!(gave_way(&held[n]).await, "{n}");
            held.push(newcomer);
        }
        assert!(!gave_way(&honest).await && !gave_way(&known).await);
        assert_eq!((seats.taken(), seats.closed()), (6, 4));
        drop((held, honest, known));
        assert_eq!(seats.taken(), 0);
        let state = seats.state();
        assert!(state.strangers.is_empty() && state.subscribers.is_empty() && state.sizes.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn fresh_and_busy_connections_are_safe_for_a_while() {
        let seats = Seats::new(2);
        let (first, second) = (seats.take(ip("192.0.2.1")).await, seats.take(ip("192.0.2.1")).await);
        assert!(seats.try_take(ip("192.0.2.2")).is_none(), "both are fresh");
        tokio::time::advance(IDLE_AFTER).await;
        let request = first.busy();
        second.advances();
        assert!(seats.try_take(ip("192.0.2.2")).is_none(), "one is busy, the other got on");
        tokio::time::advance(IDLE_AFTER).await;
        let third = seats.try_take(ip("192.0.2.2")).unwrap();
        assert!(gave_way(&second).await && !gave_way(&first).await);
        third.recognise();
        tokio::time::advance(BUSY_AFTER).await;
        let fourth = seats.try_take(ip("192.0.2.2")).unwrap();
        assert!(gave_way(&first).await, "a request does not hold a place for ever");
        drop(request);
        drop(fourth);
        assert_eq!(seats.taken(), 1);
    }
}
