//! Others that use the clerk's store or its feed: another server that writes, and a follower that reads.

use std::collections::BTreeSet;

use headsail_policy::Role;
use headsail_tailnet::actor::Actor;
use headsail_tailnet::command::{Command, Env, NewAuthKey, NewUser};
use headsail_tailnet::commit::Commit;
use headsail_tailnet::decide::decide;
use headsail_tailnet::model::key::{AUTH_KEY_PREFIX, mint};
use headsail_tailnet::tailnet::Tailnet;

use crate::check::follower_reads;
use crate::law::{Check, Violation};
use crate::world::World;

/// Another server on the same store commits a command of one of its administrators. The clerk notices at its next commit.
pub fn commit(world: &mut World) -> Result<(), Violation> {
    if world.clerk.disk.broken {
        return Ok(());
    }
    let theirs = Tailnet::of(world.settings.clone(), &world.clerk.disk.load());
    let command = command(world, &theirs);
    let (rng, now) = (&mut world.rng, world.clerk.now);
    let mut fill = |buffer: &mut [u8]| rng.fill(buffer);
    let Ok(changes) = decide(&theirs, &command, &mut Env { now, rng: &mut fill }) else { return Ok(()) };
    if changes.is_empty() {
        return Ok(());
    }
    let commit = Commit::on(theirs.revision(), now, vec![(Actor::UnixUser(7), changes)]);
    let saved = world.clerk.disk.commit(&commit, (world.parts.is_synced)(&commit));
    world.must(Check::Writers, saved.is_ok(), || format!("the other server could not commit: {saved:?}"))?;
    world.remember(commit.changes())?;
    world.ledger.push(commit);
    Ok(())
}

fn command(world: &mut World, theirs: &Tailnet) -> Command {
    let nodes: Vec<_> = theirs.nodes().map(|n| n.id).collect();
    let users: Vec<_> = theirs.users().map(|u| u.id).collect();
    let (node, user) = (world.rng.pick(&nodes).copied(), world.rng.pick(&users).copied());
    let names = ["alice", "bob", "carol", "web", "db"];
    let name = world.rng.pick(&names).copied().unwrap_or_default().to_owned();
    match (world.rng.below(8), node, user) {
        (0, Some(node), _) => Command::RenameNode { node, name },
        (1, Some(node), _) => Command::DeleteNode(node),
        (2, Some(node), _) => Command::ExpireNode { node, at: Some(world.clerk.now.plus_secs(60)) },
        (3, _, Some(user)) => Command::RenameUser { user, name },
        (4, _, Some(user)) => {
            Command::SetRole { user, role: world.rng.pick(&Role::ALL).copied().unwrap_or_default() }
        }
        (5 | 6, _, Some(user)) => {
            let key = mint(AUTH_KEY_PREFIX, &world.rng.bytes());
            world.shown_keys.push((key.prefix.clone(), key.digest));
            Command::CreateAuthKey(Box::new(NewAuthKey {
                prefix: key.prefix,
                digest: key.digest,
                user: Some(user),
                tags: BTreeSet::new(),
                reusable: true,
                ephemeral: false,
                expiration: None,
            }))
        }
        _ => Command::CreateUser(NewUser { name, ..NewUser::default() }),
    }
}

/// The store deletes its change log, so that a clerk that is behind gets rows instead of commits.
pub fn forget_log(world: &mut World) -> Result<(), Violation> {
    world.clerk.disk.forget_log();
    Ok(())
}

/// The follower catches up, after which it must know everything that the clerk knows.
pub fn follow(world: &mut World) -> Result<(), Violation> {
    follower_reads(world)
}
