//! Commands that are decided together, conflicts with other writers, and a store that refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a fixture that fails is a failed test")]

mod common;

use common::*;
use headsail_tailnet::actor::Actor;
use headsail_tailnet::batch::{Outcome, Request, Saved, Settled, settle};
use headsail_tailnet::change::Durability;
use headsail_tailnet::command::{Command, Env, NewUser, Rejection};
use headsail_tailnet::commit::{Commit, Loaded, Since};
use headsail_tailnet::deadline::Due;
use headsail_tailnet::decide::decide;
use headsail_tailnet::tailnet::Tailnet;

fn user(name: &str) -> Command {
    Command::CreateUser(NewUser { name: name.into(), ..NewUser::default() })
}

/// A tailnet with alice's node; then an administrator creates bob, the node reports its endpoint, and another administrator
/// creates bob.
fn crowd() -> (Town, Client, Vec<Request>) {
    let mut town = Town::new();
    let alice = town.user("alice");
    let (client, key) = (Client::new(1, "web"), town.key(alice, |_| {}));
    town.join(&client, &key);
    let node = town.node(&client).id;
    let tells = Command::MapUpdate { node, telling: Box::new(client.clone().at("192.0.2.9:9").tells()) };
    let requests = [
        (Actor::UnixUser(1000), user("bob")),
        (Actor::Node(node), tells),
        (Actor::UnixUser(1001), user("bob")),
    ];
    let requests = requests.into_iter().map(|(actor, command)| Request { actor, command });
    (town, client, requests.collect())
}

fn settled(
    town: &Town,
    requests: &[Request],
    save: impl FnMut(&Commit) -> Saved<&'static str>,
) -> Settled<&'static str> {
    let now = town.now;
    let decide = |t: &Tailnet, command: &Command| {
        decide(t, command, &mut Env { now, rng: &mut |bytes| bytes.fill(7) })
    };
    settle(&town.t, requests, now, decide, save)
}

/// What another writer commits: bob, created before we come to it.
fn by_another_writer(town: &Town, names: &[&str]) -> (Tailnet, Vec<Commit>) {
    let (mut theirs, mut commits) = (town.t.clone(), Vec::new());
    for name in names {
        let changes = decide(&theirs, &user(name), &mut Env { now: town.now, rng: &mut |_| {} }).unwrap();
        let commit = Commit::on(theirs.revision(), town.now, vec![(Actor::UnixUser(5), changes)]);
        theirs.apply_commit(&commit);
        commits.push(commit);
    }
    (theirs, commits)
}

#[test]
fn each_request_is_decided_on_what_the_earlier_ones_changed() {
    let (town, client, requests) = crowd();
    let mut saved = Vec::new();
    let settled = settled(&town, &requests, |commit| {
        saved.push(commit.clone());
        Saved::Yes
    });
    let [Outcome::Done, Outcome::Done, Outcome::Rejected(Rejection::Conflict(_))] =
        settled.outcomes.as_slice()
    else {
        panic!("{:?}", settled.outcomes)
    };
    assert_eq!(saved, std::slice::from_ref(&settled.commit));
    let actors: Vec<&Actor> = settled.commit.entries.iter().map(|(actor, _)| actor).collect();
    assert_eq!(actors, [&requests[0].actor, &requests[1].actor], "each change keeps its own actor");
    assert_eq!(settled.commit.revision, town.t.revision().next());
    let mut replayed = town.t.clone();
    replayed.apply_commit(&settled.commit);
    assert_eq!(settled.tailnet.dump(), replayed.dump());
    assert_eq!(settled.tailnet.revision(), replayed.revision());
    assert_ne!(settled.tailnet.node_by_key(&client.node), town.t.node_by_key(&client.node));
}

#[test]
fn when_the_store_refuses_only_volatile_changes_happen() {
    let (town, client, requests) = crowd();
    let settled = settled(&town, &requests, |_| Saved::No("full"));
    // The second administrator's request is not refused because of the first one's, which did not happen.
    assert_eq!(settled.outcomes, [Outcome::Unsaved, Outcome::Done, Outcome::Unsaved]);
    assert_eq!(settled.fault, Some("full"));
    assert!(settled.commit.changes().all(|c| c.durability() == Durability::Volatile));
    assert_eq!(settled.tailnet.revision(), town.t.revision());
    assert_eq!(settled.tailnet.users().count(), town.t.users().count());
    let node = settled.tailnet.node_by_key(&client.node).unwrap();
    assert_eq!(node.contact.endpoints, ["192.0.2.9:9".parse().unwrap()]);
}

#[test]
fn keys_expire_even_if_the_store_refuses() {
    let (mut town, client, _) = crowd();
    let node = town.node(&client).id;
    town.make(Command::ExpireNode { node, at: Some(town.now.plus_secs(60)) });
    let expires = Request { actor: Actor::Clock, command: Command::Due(Due::Node(node)) };
    let is_past = |settled: &Settled<_>| settled.tailnet.node(node).unwrap().expiry.is_past();
    let early = settled(&town, std::slice::from_ref(&expires), |_| Saved::No("full"));
    assert!(!is_past(&early));
    town.now = town.now.plus_secs(60);
    let late = settled(&town, std::slice::from_ref(&expires), |_| Saved::No("full"));
    assert!(is_past(&late));
    assert_eq!((late.outcomes, late.fault), (vec![Outcome::Done], Some("full")));
    assert_eq!(late.tailnet.revision(), town.t.revision(), "nothing was written");
    // An administrator's command is no fact of time.
    let now =
        Request { actor: Actor::UnixUser(0), command: Command::ExpireNode { node, at: Some(town.now) } };
    town.make(Command::ExpireNode { node, at: Some(town.now.plus_secs(60)) });
    let refused = settled(&town, &[now], |_| Saved::No("full"));
    assert_eq!((is_past(&refused), &refused.outcomes[..]), (false, &[Outcome::Unsaved][..]));
}

#[test]
fn after_a_conflict_requests_are_decided_again_on_what_the_other_writer_did() {
    let (town, client, requests) = crowd();
    let (theirs, commits) = by_another_writer(&town, &["carol", "bob"]);
    let mut attempts = 0;
    let settled = settled(&town, &requests, |_| {
        attempts += 1;
        let since = Since::Commits(commits.clone());
        if attempts == 1 { Saved::Conflict { since, fault: "conflict" } } else { Saved::Yes }
    });
    assert_eq!((attempts, settled.fault), (2, None));
    assert_eq!(settled.others, [Since::Commits(commits)]);
    let bobs = settled.tailnet.users().filter(|u| u.name == "bob").count();
    assert_eq!(bobs, 1, "the other writer's bob");
    assert!(matches!(settled.outcomes[0], Outcome::Rejected(Rejection::Conflict(_))));
    assert_eq!(settled.commit.revision, theirs.revision().next());
    assert!(!settled.tailnet.node_by_key(&client.node).unwrap().contact.endpoints.is_empty());
}

#[test]
fn rows_replace_everything_but_what_lives_in_memory_only() {
    let (mut town, _, requests) = crowd();
    town.register(Client::new(9, "waits").asks()).unwrap();
    let waiting = town.waiting();
    let (theirs, _) = by_another_writer(&town, &["carol"]);
    let rows = Since::Rows(Loaded { revision: theirs.revision(), changes: theirs.dump() });
    let mut news = vec![rows];
    let settled = settled(&town, &requests, |_| match news.pop() {
        Some(since) => Saved::Conflict { since, fault: "conflict" },
        None => Saved::Yes,
    });
    assert_eq!(settled.tailnet.ticket(&waiting.id), Some(&waiting));
    assert!(settled.tailnet.users().any(|u| u.name == "carol"));
    assert!(settled.tailnet.version() > town.t.version(), "streams notice the new snapshot");
    assert!(settled.tailnet.revision() > theirs.revision());
}

#[test]
fn conflicts_without_end_are_a_fault() {
    let (town, _, requests) = crowd();
    let mut attempts = 0;
    let settled = settled(&town, &requests, |_| {
        attempts += 1;
        Saved::Conflict { since: Since::Commits(Vec::new()), fault: "conflict" }
    });
    assert_eq!((attempts, settled.fault), (16, Some("conflict")));
    assert_eq!(settled.outcomes, [Outcome::Unsaved, Outcome::Done, Outcome::Unsaved]);
}

#[test]
fn no_request_changes_nothing_and_asks_no_store() {
    let town = Town::new();
    let settled = settled(&town, &[], |_| panic!("there is nothing to save"));
    assert!(settled.commit.is_empty() && settled.outcomes.is_empty());
    assert_eq!(settled.tailnet.revision(), town.t.revision());
}
