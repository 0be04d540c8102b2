//! What clients do, and what attackers try.

use headsail_tailnet::batch::Outcome;
use headsail_tailnet::command::{Command, Rejection, ShownKey};
use headsail_tailnet::model::key::{AUTH_KEY_PREFIX, mint};
use headsail_wire::capver::CapVer;
use headsail_wire::keys::NodeKey;
use headsail_wire::time::Time;

use crate::check::told_is_ought;
use crate::law::{Check, Violation};
use crate::machine::Machine;
use crate::world::World;
use headsail_tailnet::actor::Actor;

/// The largest number of machines.
const MACHINES: usize = 16;

/// A random machine, sometimes a new one.
pub fn any_machine(world: &mut World) -> usize {
    if world.machines.is_empty() || (world.machines.len() < MACHINES && world.rng.chance(15)) {
        let machine = Machine::new(&mut world.rng);
        world.machines.push(machine);
        return world.machines.len() - 1;
    }
    world.rng.below(world.machines.len() as u64) as usize
}

/// A pre-auth key as a user would enter it: mostly one that was created, which may have expired or been deleted since.
fn shown_key(world: &mut World) -> ShownKey {
    let random = world.rng.bytes();
    let unknown = mint(AUTH_KEY_PREFIX, &random);
    let known = world.rng.pick(&world.shown_keys).cloned();
    let (prefix, digest) = match (world.rng.below(20), known) {
        (0, _) => return ShownKey::Unreadable,
        (1, _) | (_, None) => (unknown.prefix, unknown.digest),
        (2, Some((prefix, _))) => (prefix, unknown.digest),
        (_, Some(known)) => known,
    };
    ShownKey::Key { prefix, digest }
}

fn later(world: &mut World) -> Option<Time> {
    world.rng.chance(10).then(|| world.clerk.now.plus_secs(1 + world.rng.below(3000) as i64))
}

/// A machine registers with a pre-auth key.
pub fn register_with_key(world: &mut World) -> Result<(), Violation> {
    let (at, key, expiry, ephemeral) =
        (any_machine(world), shown_key(world), later(world), world.rng.chance(15));
    let registration = world.machines[at].registration(&mut world.rng, key, expiry, ephemeral);
    register(world, at, registration).map(drop)
}

/// A machine registers without a key, and gets a pending login.
pub fn register_without_key(world: &mut World) -> Result<(), Violation> {
    let (at, expiry, ephemeral) = (any_machine(world), later(world), world.rng.chance(10));
    let registration = world.machines[at].registration(&mut world.rng, ShownKey::None, expiry, ephemeral);
    register(world, at, registration).map(drop)
}

/// A machine with a pending login requests again, for the same or for something else.
pub fn repeat_login(world: &mut World) -> Result<(), Violation> {
    let waiting: Vec<usize> = (0..world.machines.len())
        .filter(|at| {
            let key = world.machines[*at].key;
            world.clerk.published.tickets().any(|k| k.asking.machine_key == key)
        })
        .collect();
    let Some(at) = world.rng.pick(&waiting).copied() else { return Ok(()) };
    if world.rng.chance(60) {
        world.machines[at].change(&mut world.rng);
    }
    let (expiry, ephemeral) = (later(world), world.rng.chance(10));
    let registration = world.machines[at].registration(&mut world.rng, ShownKey::None, expiry, ephemeral);
    register(world, at, registration).map(drop)
}

/// A machine registers again, as clients do at every start. Its hostinfo may have changed.
pub fn register_again(world: &mut World) -> Result<(), Violation> {
    let at = any_machine(world);
    if world.rng.chance(30) {
        world.machines[at].change(&mut world.rng);
    }
    let key = if world.rng.chance(50) { shown_key(world) } else { ShownKey::None };
    let registration = world.machines[at].registration(&mut world.rng, key, None, false);
    register(world, at, registration).map(drop)
}

/// A client generates a new node key and registers with it. Sometimes it returns to an earlier key.
pub fn rotate_key(world: &mut World) -> Result<(), Violation> {
    let at = any_machine(world);
    world.machines[at].rotate(&mut world.rng);
    if world.rng.chance(15) {
        let earlier = world.rng.pick(&world.machines[at].held).copied();
        world.machines[at].node_key = earlier.unwrap_or_default();
    }
    let key = if world.rng.chance(80) { shown_key(world) } else { ShownKey::None };
    let registration = world.machines[at].registration(&mut world.rng, key, None, false);
    register(world, at, registration).map(drop)
}

/// A client logs out.
pub fn log_out(world: &mut World) -> Result<(), Violation> {
    let at = any_machine(world);
    let registration =
        world.machines[at].registration(&mut world.rng, ShownKey::None, Some(Time::from_secs(123)), false);
    let answer = register(world, at, registration)?;
    let left =
        world.clerk.published.node_by_key(&world.machines[at].node_key).is_some_and(|n| !n.expiry.is_past());
    world.must(Check::OwnNodesOnly, answer != Outcome::Done || !left, || {
        "a node that has logged out is still valid".into()
    })
}

/// A client requests that its key expire soon.
pub fn shorten_expiry(world: &mut World) -> Result<(), Violation> {
    let at = any_machine(world);
    let soon = world.clerk.now.plus_secs(1 + world.rng.below(600) as i64);
    let registration = world.machines[at].registration(&mut world.rng, ShownKey::None, Some(soon), false);
    register(world, at, registration).map(drop)
}

/// A client below the capability version floor registers, and must be rejected.
pub fn register_old_client(world: &mut World) -> Result<(), Violation> {
    let (at, key) = (any_machine(world), shown_key(world));
    let mut registration = world.machines[at].registration(&mut world.rng, key, None, false);
    registration.cap = CapVer(112);
    let answer = register(world, at, registration)?;
    world.must(Check::OwnNodesOnly, matches!(answer, Outcome::Rejected(Rejection::TooOld(_))), || {
        format!("the outcome for a client below the floor was {answer:?}")
    })
}

/// A machine sends the node key of another machine: to take it over, to log it out, or as its own old key.
pub fn use_foreign_key(world: &mut World) -> Result<(), Violation> {
    let at = any_machine(world);
    let all: Vec<NodeKey> = world.machines.iter().flat_map(|m| m.held.iter().copied()).collect();
    let Some(key) = world.rng.pick(&all).copied() else { return Ok(()) };
    let shown = if world.rng.chance(70) { shown_key(world) } else { ShownKey::None };
    let mut registration = world.machines[at].registration(&mut world.rng, shown, None, false);
    match world.rng.below(3) {
        0 => registration.node_key = key,
        1 => (registration.node_key, registration.expiry) = (key, Some(Time::from_secs(123))),
        _ => registration.old_node_key = key,
    }
    register(world, at, registration).map(drop)
}

/// Registers a machine. If that succeeds, the node must belong to this machine.
fn register(
    world: &mut World,
    at: usize,
    registration: Box<headsail_tailnet::command::Registration>,
) -> Result<Outcome, Violation> {
    let (machine, node_key) = (world.machines[at].key, registration.node_key);
    let admits = registration.auth_key != ShownKey::None && registration.expiry.is_none();
    let held_by = world.clerk.published.node_by_key(&node_key).map(|n| n.machine_key);
    let answer = world.ask(Actor::Machine(machine), Command::Register(registration))?;
    let foreign = held_by.is_some_and(|holder| holder != machine);
    let refused = matches!(answer, Outcome::Rejected(Rejection::Foreign | Rejection::TooOld(_)));
    world.must(Check::OwnNodesOnly, !foreign || refused, || {
        format!("the outcome for a foreign node key was {answer:?}")
    })?;
    let node = world.clerk.published.node_by_key(&node_key);
    let is_in = node.is_some_and(|n| n.machine_key == machine && !n.expiry.is_past());
    world.must(Check::OwnNodesOnly, answer != Outcome::Done || !admits || is_in, || {
        format!("a machine was admitted, but its node is {node:?}")
    })?;
    Ok(answer)
}

/// A client sends a lite update, which may contain changes.
pub fn update(world: &mut World) -> Result<(), Violation> {
    let at = any_machine(world);
    match world.rng.below(10) {
        0..5 => world.machines[at].roam(&mut world.rng),
        5..9 => world.machines[at].change(&mut world.rng),
        _ => {}
    }
    let telling = world.machines[at].telling(&mut world.rng);
    let Some((actor, node)) = node_of_request(world, at)? else { return Ok(()) };
    world.ask(actor, Command::MapUpdate { node, telling }).map(drop)
}

/// The node that a machine's map request names: mostly its own, sometimes one of another machine, which must be rejected.
pub fn node_of_request(
    world: &mut World,
    at: usize,
) -> Result<Option<(Actor, headsail_wire::ids::NodeId)>, Violation> {
    let machine = world.machines[at].key;
    let other = world.rng.below(world.machines.len() as u64) as usize;
    let from = if world.rng.chance(5) { other } else { at };
    let key = match world.rng.chance(90) {
        true => world.machines[from].node_key,
        false => world.rng.pick(&world.machines[from].held).copied().unwrap_or_default(),
    };
    let Ok(node) = (world.parts.node_of)(&world.clerk.published, &machine, &key) else { return Ok(None) };
    let own = world.clerk.published.node(node).is_some_and(|n| n.machine_key == machine);
    world
        .must(Check::OwnNodesOnly, own, || format!("{machine:?} acts for node {node} of another machine"))?;
    Ok(Some((Actor::Machine(machine), node)))
}

/// A client requests a single map, without a stream, and must get a full one.
pub fn one_shot_map(world: &mut World) -> Result<(), Violation> {
    let at = any_machine(world);
    let Some((_, node)) = node_of_request(world, at)? else { return Ok(()) };
    let Some(map) = (world.parts.project)(&world.clerk.published, node) else { return Ok(()) };
    let frame = (world.parts.first)(&map);
    told_is_ought(world, &mut None, frame, node)
}

/// Several clients send requests at once, which the clerk decides as one batch.
pub fn requests_at_once(world: &mut World) -> Result<(), Violation> {
    let mut commands = Vec::new();
    for _ in 0..2 + world.rng.below(4) {
        let at = any_machine(world);
        let actor = Actor::Machine(world.machines[at].key);
        match world.rng.below(3) {
            0 => {
                world.machines[at].roam(&mut world.rng);
                let telling = world.machines[at].telling(&mut world.rng);
                if let Some((actor, node)) = node_of_request(world, at)? {
                    commands.push((actor, Command::MapUpdate { node, telling }));
                }
            }
            _ => {
                let key = shown_key(world);
                let registration = world.machines[at].registration(&mut world.rng, key, None, false);
                commands.push((actor, Command::Register(registration)));
            }
        }
    }
    world.ask_together(commands).map(drop)
}
