//! Commands that are decided and committed together.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use common::*;
use headsail_tailnet::batch::{Decided, Outcome};
use headsail_tailnet::change::Durability;
use headsail_tailnet::command::{Command, Env, NewUser, Rejection};
use headsail_tailnet::decide::decide;

fn user(name: &str) -> Command {
    Command::CreateUser(NewUser { name: name.into(), ..NewUser::default() })
}

/// A tailnet with a node of alice, and a batch of three commands: bob is created, the node reports an endpoint, and bob is
/// created again.
fn crowd() -> (Town, Client, Decided) {
    let mut town = Town::new();
    let alice = town.user("alice");
    let (client, key) = (Client::new(1, "web"), town.key(alice, |_| {}));
    town.join(&client, &key);
    let node = town.node(&client).id;
    let tells = Command::MapUpdate { node, telling: Box::new(client.clone().at("192.0.2.9:9").tells()) };
    let mut decided = Decided::on(&town.t);
    for command in [user("bob"), tells, user("bob")] {
        let mut env = Env { now: town.now, rng: &mut |bytes| bytes.fill(7) };
        decided.add(decide(decided.tailnet(), command, &mut env));
    }
    (town, client, decided)
}

#[test]
fn each_command_is_decided_on_the_result_of_the_previous_ones() {
    let (town, client, decided) = crowd();
    let changes = decided.changes();
    let settled = decided.saved();
    let [Outcome::Done, Outcome::Done, Outcome::Rejected(Rejection::Conflict(_))] =
        settled.outcomes.as_slice()
    else {
        panic!("{:?}", settled.outcomes)
    };
    assert_eq!(settled.changes, changes);
    assert_eq!(settled.tailnet.users().count(), town.t.users().count() + 1);
    let mut replayed = town.t.clone();
    replayed.apply(&changes);
    assert_eq!(settled.tailnet.dump(), replayed.dump());
    assert_ne!(settled.tailnet.node_by_key(&client.node), town.t.node_by_key(&client.node));
}

#[test]
fn if_the_commit_fails_only_volatile_changes_take_effect() {
    let (town, client, decided) = crowd();
    let settled = decided.unsaved(&town.t);
    assert!(matches!(settled.outcomes.as_slice(), [Outcome::Unsaved, Outcome::Done, Outcome::Rejected(_)]));
    assert!(settled.changes.iter().all(|c| c.durability() == Durability::Volatile), "{:?}", settled.changes);
    assert_eq!(settled.tailnet.users().count(), town.t.users().count());
    let node = settled.tailnet.node_by_key(&client.node).unwrap();
    assert_eq!(node.contact.endpoints, ["192.0.2.9:9".parse().unwrap()]);
}

#[test]
fn an_empty_batch_changes_nothing() {
    let town = Town::new();
    let settled = Decided::on(&town.t).saved();
    assert_eq!(
        (settled.tailnet.revision(), settled.changes, settled.outcomes),
        (town.t.revision(), vec![], vec![])
    );
}
