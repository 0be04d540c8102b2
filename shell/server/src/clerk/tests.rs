use headsail_store::history::Query;
use headsail_store::memory::MemoryStore;
use headsail_tailnet::change::Change;
use headsail_tailnet::command::{NewUser, Registration, ShownKey, Telling};
use headsail_tailnet::commit::{Loaded, Revision};
use headsail_tailnet::feed::News;
use headsail_tailnet::model::node::{Presence, StreamNo};
use headsail_tailnet::model::settings::Settings;
use headsail_wire::capver::CapVer;
use headsail_wire::hostinfo::Hostinfo;
use headsail_wire::ids::{NodeId, UserId};
use headsail_wire::keys::{DiscoKey, MachineKey, NodeKey};

use super::*;

const TESTER: Actor = Actor::UnixUser(1000);

fn full() -> Fault {
    Fault::Full("disk".into())
}

fn user(name: &str) -> Command {
    Command::CreateUser(NewUser { name: name.into(), ..NewUser::default() })
}

fn registration(number: u8) -> Command {
    Command::Register(Box::new(Registration {
        machine_key: MachineKey::from_bytes([number; 32]),
        cap: CapVer::FLOOR,
        node_key: NodeKey::from_bytes([number; 32]),
        old_node_key: NodeKey::default(),
        auth_key: ShownKey::None,
        expiry: None,
        hostinfo: Hostinfo { hostname: "web".into(), ..Hostinfo::default() },
        ephemeral: false,
        source: None,
    }))
}

fn expires(node: NodeId, secs: i64) -> Command {
    Command::ExpireNode { node, at: Some(clock::now().plus_secs(secs)) }
}

fn tells(node: NodeId, port: u16) -> Command {
    let telling = Telling {
        hostinfo: None,
        endpoints: vec![([192, 0, 2, 1], port).into()],
        disco_key: DiscoKey::default(),
        cap: CapVer::FLOOR,
    };
    Command::MapUpdate { node, telling: Box::new(telling) }
}

fn ports(t: &Tailnet, node: NodeId) -> Vec<u16> {
    t.node(node).unwrap().contact.endpoints.iter().map(|e| e.port()).collect()
}

/// A tailnet with a user and a node, and its store.
fn one_node() -> (Tailnet, NodeId, MemoryStore) {
    let mut store = MemoryStore::default();
    let t = Tailnet::empty(Arc::new(Settings::basic()));
    let t = after(&t, &mut store, user("alice"));
    let t = after(&t, &mut store, registration(1));
    let ticket = t.tickets().next().unwrap().id.clone();
    let t = after(&t, &mut store, Command::GrantTicket { ticket, user: UserId::new(1).unwrap() });
    let node = t.nodes().next().unwrap().id;
    (t, node, store)
}

/// The same tailnet after a command.
fn after(t: &Tailnet, store: &mut MemoryStore, command: Command) -> Tailnet {
    let changes = decide(t, &command, &mut Env { now: clock::now(), rng: &mut random::fill }).unwrap();
    let commit = Commit::on(t.revision(), clock::now(), vec![(TESTER, changes)]);
    store.commit(&commit).unwrap();
    let mut next = t.clone();
    next.apply_commit(&commit);
    next
}

type Heard = oneshot::Receiver<Result<Arc<Tailnet>, Failure>>;

fn asks(command: Command) -> (Job, Heard) {
    let (answer, heard) = oneshot::channel();
    (Job::Carry { request: Request { actor: TESTER, command }, answer }, heard)
}

/// A queue that already contains these commands.
fn queue(commands: Vec<Command>) -> (mpsc::Sender<Job>, mpsc::Receiver<Job>, Vec<Heard>) {
    let (jobs, queue) = mpsc::channel(QUEUE);
    let heard = commands.into_iter().map(|command| {
        let (job, heard) = asks(command);
        jobs.try_send(job).unwrap_or_else(|_| panic!("there is room"));
        heard
    });
    let heard = heard.collect();
    (jobs, queue, heard)
}

#[tokio::test]
async fn i3_nothing_is_published_that_is_not_committed() {
    let (t, _, store) = one_node();
    let stored = t.revision();
    let clerk = Clerk::start(t, Box::new(store.clone())).unwrap();
    store.fail([full()]);
    let refused = clerk.submit(TESTER, user("bob")).await;
    assert!(matches!(&refused, Err(Failure::Fault(why)) if why.contains("the disk or a quota is full")));
    assert_eq!((clerk.snapshot().users().count(), store.revision()), (1, stored));
    // It left no trace: the name is free, and the next commit fits the store's revision.
    let made = clerk.submit(TESTER, user("bob")).await.unwrap();
    assert_eq!((made.users().count(), clerk.snapshot().revision()), (2, made.revision()));
    assert_eq!(store.clone().load().unwrap().changes, made.dump());
}

#[tokio::test]
async fn volatile_changes_take_effect_even_if_the_store_refuses() {
    let (t, node, store) = one_node();
    let (mut worker, snapshots) = Worker::new(t, Box::new(store.clone()));
    let (jobs, queue, mut heard) = queue(vec![user("bob"), tells(node, 7), user("1"), user("bob")]);
    drop(jobs);
    store.fail([full()]);
    assert!(worker.run(queue).await.is_none());
    let outcomes: Vec<_> = heard.iter_mut().map(|h| h.try_recv().unwrap()).collect();
    let [Err(Failure::Fault(_)), Ok(told), Err(Failure::Rejected(_)), Err(_)] = outcomes.as_slice() else {
        panic!("{:?}", outcomes.iter().map(|o| o.as_ref().map(|_| ())).collect::<Vec<_>>())
    };
    assert_eq!((ports(told, node), told.users().count()), (vec![7], 1));
    assert!(Arc::ptr_eq(told, snapshots.borrow().tailnet()));
}

#[tokio::test]
async fn due_rows_are_handled_while_commands_keep_arriving() {
    let (t, node, mut store) = one_node();
    let stream = StreamNo(1);
    let opened = Command::StreamOpened { node, stream, telling: Box::default() };
    let mut t = after(&t, &mut store, opened);
    let then = Time::EPOCH;
    t.apply(&[Change::Presence(node, Presence::Lingering { since: then, left: then, until: then })]);
    let (mut worker, _) = Worker::new(t, Box::new(store));
    // Twice as many as the clerk takes at once, so commands are always waiting.
    let (jobs, queue, heard) =
        queue((0..2 * BATCH).map(|n| tells(node, u16::try_from(n).unwrap())).collect());
    drop(jobs);
    assert!(worker.run(queue).await.is_none());
    let first = heard.into_iter().next().unwrap().await.unwrap().unwrap();
    assert!(!first.node(node).unwrap().presence.is_online(), "it went with the first batch");
}

#[tokio::test(start_paused = true)]
async fn after_a_fault_due_rows_are_retried_after_a_pause() {
    let (t, node, mut store) = one_node();
    let mut t = after(&t, &mut store, expires(node, 3600));
    let row = t.node(node).unwrap();
    let presence = Presence::Offline { since: Time::EPOCH };
    let overdue = headsail_tailnet::model::node::Node { ephemeral: true, presence, ..(**row).clone() };
    t.apply(&[Change::Node(Arc::new(overdue))]);
    let is_deleted = |t: &Tailnet| t.node(node).is_none();
    let (mut worker, mut snapshots) = Worker::new(t, Box::new(store.clone()));
    let (jobs, queue, _) = queue(Vec::new());
    store.fail([full(), full(), full()]);
    let begun = Instant::now();
    let askers = async {
        // The clerk has tried to handle the row. Further failures must not extend the pause.
        let ask = async |command| {
            let (job, heard) = asks(command);
            jobs.send(job).await.unwrap_or_else(|_| panic!("the clerk works"));
            heard.await.unwrap()
        };
        assert!(ask(user("bob")).await.is_err());
        tokio::time::advance(RETRY_AFTER_FAULT / 2).await;
        assert!(ask(user("bob")).await.is_err());
        let made = ask(user("bob")).await.unwrap();
        assert!(!is_deleted(&made), "what is due waits");
        assert_eq!(begun.elapsed(), RETRY_AFTER_FAULT / 2);
        snapshots.wait_for(|feed| is_deleted(feed.tailnet())).await.unwrap();
        assert!(
            (RETRY_AFTER_FAULT..RETRY_AFTER_FAULT * 5 / 4).contains(&begun.elapsed()),
            "{:?}",
            begun.elapsed()
        );
        drop(jobs);
    };
    let (ended, ()) = tokio::join!(worker.run(queue), askers);
    assert!(ended.is_none());
}

#[tokio::test]
async fn callers_get_a_snapshot_that_is_published() {
    let (t, _, store) = one_node();
    let clerk = Clerk::start(t, Box::new(store)).unwrap();
    let mut follower = clerk.follow();
    let made = clerk.submit(TESTER, user("bob")).await.unwrap();
    assert!(Arc::ptr_eq(&made, &clerk.snapshot()));
    follower.changed().await.unwrap();
    assert!(Arc::ptr_eq(&made, follower.borrow_and_update().tailnet()));
    assert!(matches!(clerk.submit(TESTER, user("bob")).await, Err(Failure::Rejected(_))));
    assert!(!follower.has_changed().unwrap(), "a refusal is no news");
}

#[tokio::test]
async fn a_graceful_shutdown_closes_the_store_and_later_commands_fail() {
    let (t, _, store) = one_node();
    let stored = t.revision();
    let clerk = Clerk::start(t, Box::new(store.clone())).unwrap();
    clerk.stop(user("last")).await;
    clerk.ended().await;
    assert_eq!(store.revision().0, stored.0 + 1);
    assert!(matches!(clerk.submit(TESTER, user("late")).await, Err(Failure::Fault(_))));
    assert!(!clerk.is_healthy().await);
}

/// A store that panics.
struct Broken;

impl Store for Broken {
    fn load(&mut self) -> Result<Loaded, Fault> {
        Ok(Loaded::default())
    }

    fn commit(&mut self, _: &Commit) -> Result<(), Fault> {
        panic!("a mistake in the store")
    }

    fn since(&mut self, _: Revision) -> Result<Since, Fault> {
        Ok(Since::Commits(Vec::new()))
    }

    fn history(&self) -> Arc<dyn History> {
        Arc::new(MemoryStore::default())
    }

    fn ping(&mut self) -> Result<(), Fault> {
        Ok(())
    }
}

#[tokio::test]
async fn a_panic_of_the_clerk_is_noticed() {
    let clerk = Clerk::start(Tailnet::empty(Arc::new(Settings::basic())), Box::new(Broken)).unwrap();
    assert!(clerk.is_healthy().await);
    assert!(matches!(clerk.submit(TESTER, user("bob")).await, Err(Failure::Fault(_))));
    clerk.ended().await;
}

#[tokio::test]
async fn two_servers_on_one_store_lose_nothing_and_see_each_others_changes() {
    let (t, node, store) = one_node();
    let here = Clerk::start(t.clone(), Box::new(store.clone())).unwrap();
    let there = Clerk::start(t, Box::new(store.clone())).unwrap();
    let mut both = Vec::new();
    for n in 0..100 {
        let clerk = if n % 3 == 0 { &here } else { &there };
        both.push(clerk.submit(Actor::UnixUser(n), user(&format!("user{n}"))));
        // The second one is rejected: there is one `bob`.
        both.push(clerk.submit(Actor::UnixUser(n), user("bob")));
    }
    both.push(here.submit(Actor::Node(node), tells(node, 7)));
    let outcomes = futures_util::future::join_all(both).await;
    let refused = outcomes.iter().filter(|o| matches!(o, Err(Failure::Rejected(_)))).count();
    assert_eq!((refused, outcomes.iter().filter(|o| o.is_ok()).count()), (99, 102));
    // Each server commits once more, and has caught up after that.
    here.submit(TESTER, user("last")).await.unwrap();
    let after = there.submit(TESTER, user("very-last")).await.unwrap();
    let loaded = store.clone().load().unwrap();
    assert_eq!((after.dump(), after.revision()), (loaded.changes, loaded.revision));
    assert_eq!(ports(&after, node), [7]);
    let query = Query { limit: 1000, kinds: vec!["user".into()], ..Query::default() };
    for record in store.history().read(&query).unwrap() {
        if let Some(n) = record.row["name"].as_str().and_then(|name| name.strip_prefix("user")) {
            assert_eq!(record.actor, Actor::UnixUser(n.parse().unwrap()), "every change has its own actor");
        }
    }
}

#[tokio::test]
async fn followers_read_commits_and_learn_if_they_missed_some() {
    let (t, _, store) = one_node();
    let clerk = Clerk::start(t, Box::new(store)).unwrap();
    let mut follower = clerk.follow();
    let seen = clerk.snapshot().version();
    clerk.submit(Actor::ApiKey(headsail_wire::ids::ApiKeyId::new(4).unwrap()), user("bob")).await.unwrap();
    follower.changed().await.unwrap();
    let News::Commits(commits) = follower.borrow_and_update().since(seen) else { panic!("one commit") };
    let [commit] = commits.as_slice() else { panic!("{commits:?}") };
    let [(Actor::ApiKey(_), changes)] = commit.entries.as_slice() else { panic!("{commit:?}") };
    assert!(matches!(changes.as_slice(), [Change::User(user)] if user.name == "bob"));
    // It reads nothing for a long time, which delays nobody.
    for n in 0..100 {
        clerk.submit(TESTER, user(&format!("user{n}"))).await.unwrap();
    }
    follower.changed().await.unwrap();
    let feed = follower.borrow_and_update();
    assert_eq!(feed.since(seen), News::Missed);
    assert_eq!(feed.tailnet().users().count(), 102, "the snapshot says what is true now");
}
