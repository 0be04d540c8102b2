//! What clients do, and what their misusers try.

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

/// More machines than this never come.
const MACHINES: usize = 16;

/// Any machine, sometimes a new one.
pub fn somebody(world: &mut World) -> usize {
    if world.machines.is_empty() || (world.machines.len() < MACHINES && world.rng.chance(15)) {
        let machine = Machine::new(&mut world.rng);
        world.machines.push(machine);
        return world.machines.len() - 1;
    }
    world.rng.below(world.machines.len() as u64) as usize
}

/// A key as somebody types it: mostly one that was made, whatever became of it.
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

/// A machine registers with an auth key.
///
/// # Errors
/// What doesn't hold after it.
pub fn knock_with_key(world: &mut World) -> Result<(), Violation> {
    let (at, key, expiry, ephemeral) =
        (somebody(world), shown_key(world), later(world), world.rng.chance(15));
    let registration = world.machines[at].registration(&mut world.rng, key, expiry, ephemeral);
    register(world, at, registration).map(drop)
}

/// A machine registers with nothing, and gets a login to wait for.
///
/// # Errors
/// What doesn't hold after it.
pub fn knock_without_key(world: &mut World) -> Result<(), Violation> {
    let (at, expiry, ephemeral) = (somebody(world), later(world), world.rng.chance(10));
    let registration = world.machines[at].registration(&mut world.rng, ShownKey::None, expiry, ephemeral);
    register(world, at, registration).map(drop)
}

/// A machine that waits for a person asks again, for the same or for something else.
///
/// # Errors
/// What doesn't hold after it.
pub fn knock_again(world: &mut World) -> Result<(), Violation> {
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

/// A machine that is in registers once more, as clients do at every start. Its host may be another one by then.
///
/// # Errors
/// What doesn't hold after it.
pub fn show_again(world: &mut World) -> Result<(), Violation> {
    let at = somebody(world);
    if world.rng.chance(30) {
        world.machines[at].change(&mut world.rng);
    }
    let key = if world.rng.chance(50) { shown_key(world) } else { ShownKey::None };
    let registration = world.machines[at].registration(&mut world.rng, key, None, false);
    register(world, at, registration).map(drop)
}

/// A client makes itself a new key and registers with it; sometimes it goes back to one that it had.
///
/// # Errors
/// What doesn't hold after it.
pub fn rotate(world: &mut World) -> Result<(), Violation> {
    let at = somebody(world);
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
///
/// # Errors
/// What doesn't hold after it.
pub fn log_out(world: &mut World) -> Result<(), Violation> {
    let at = somebody(world);
    let registration =
        world.machines[at].registration(&mut world.rng, ShownKey::None, Some(Time::from_secs(123)), false);
    let answer = register(world, at, registration)?;
    let left =
        world.clerk.published.node_by_key(&world.machines[at].node_key).is_some_and(|n| !n.expiry.is_past());
    world.must(Check::OwnNodesOnly, answer != Outcome::Done || !left, || {
        "a node that has logged out is still good".into()
    })
}

/// A client asks that its key expires soon.
///
/// # Errors
/// What doesn't hold after it.
pub fn shorten_expiry(world: &mut World) -> Result<(), Violation> {
    let at = somebody(world);
    let soon = world.clerk.now.plus_secs(1 + world.rng.below(600) as i64);
    let registration = world.machines[at].registration(&mut world.rng, ShownKey::None, Some(soon), false);
    register(world, at, registration).map(drop)
}

/// A client below the floor comes.
///
/// # Errors
/// It is let in.
pub fn come_with_old_client(world: &mut World) -> Result<(), Violation> {
    let (at, key) = (somebody(world), shown_key(world));
    let mut registration = world.machines[at].registration(&mut world.rng, key, None, false);
    registration.cap = CapVer(112);
    let answer = register(world, at, registration)?;
    world.must(Check::OwnNodesOnly, matches!(answer, Outcome::Rejected(Rejection::TooOld(_))), || {
        format!("a client below the floor was answered {answer:?}")
    })
}

/// A machine uses the node key of another, to take it, to log it out, or as the key that it had before.
///
/// # Errors
/// It gets what isn't its own.
pub fn misuse(world: &mut World) -> Result<(), Violation> {
    let at = somebody(world);
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

/// Registers; a success must have made the node of this machine that it speaks of.
fn register(
    world: &mut World,
    at: usize,
    registration: Box<headsail_tailnet::command::Registration>,
) -> Result<Outcome, Violation> {
    let (machine, node_key) = (world.machines[at].key, registration.node_key);
    let let_in = registration.auth_key != ShownKey::None && registration.expiry.is_none();
    let held_by = world.clerk.published.node_by_key(&node_key).map(|n| n.machine_key);
    let answer = world.ask(Actor::Machine(machine), Command::Register(registration))?;
    let foreign = held_by.is_some_and(|holder| holder != machine);
    let refused = matches!(answer, Outcome::Rejected(Rejection::Foreign | Rejection::TooOld(_)));
    world.must(Check::OwnNodesOnly, !foreign || refused, || {
        format!("a foreign node key was answered {answer:?}")
    })?;
    let node = world.clerk.published.node_by_key(&node_key);
    let is_in = node.is_some_and(|n| n.machine_key == machine && !n.expiry.is_past());
    world.must(Check::OwnNodesOnly, answer != Outcome::Done || !let_in || is_in, || {
        format!("a machine was let in, but its node is {node:?}")
    })?;
    Ok(answer)
}

/// A client tells of itself; what it tells may have changed.
///
/// # Errors
/// What doesn't hold after it.
pub fn tell(world: &mut World) -> Result<(), Violation> {
    let at = somebody(world);
    match world.rng.below(10) {
        0..5 => world.machines[at].roam(&mut world.rng),
        5..9 => world.machines[at].change(&mut world.rng),
        _ => {}
    }
    let telling = world.machines[at].telling(&mut world.rng);
    let Some((asker, node)) = speaks_for(world, at)? else { return Ok(()) };
    world.ask(asker, Command::MapUpdate { node, telling }).map(drop)
}

/// The node that a machine's map request names: mostly its own, sometimes one of somebody else, which is refused.
///
/// # Errors
/// It speaks for a node of another machine.
pub fn speaks_for(
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
    world.must(Check::OwnNodesOnly, own, || {
        format!("{machine:?} speaks for node {node} of another machine")
    })?;
    Ok(Some((Actor::Machine(machine), node)))
}

/// A map is asked for once, without a stream.
///
/// # Errors
/// It is not the whole map.
pub fn one_shot(world: &mut World) -> Result<(), Violation> {
    let at = somebody(world);
    let Some((_, node)) = speaks_for(world, at)? else { return Ok(()) };
    let Some(map) = (world.parts.project)(&world.clerk.published, node) else { return Ok(()) };
    let frame = (world.parts.first)(&map);
    told_is_ought(world, &mut None, frame, node)
}

/// Many come at once, and the clerk takes them together.
///
/// # Errors
/// What doesn't hold after it.
pub fn crowd(world: &mut World) -> Result<(), Violation> {
    let mut commands = Vec::new();
    for _ in 0..2 + world.rng.below(4) {
        let at = somebody(world);
        let asker = Actor::Machine(world.machines[at].key);
        match world.rng.below(3) {
            0 => {
                world.machines[at].roam(&mut world.rng);
                let telling = world.machines[at].telling(&mut world.rng);
                if let Some((asker, node)) = speaks_for(world, at)? {
                    commands.push((asker, Command::MapUpdate { node, telling }));
                }
            }
            _ => {
                let key = shown_key(world);
                let registration = world.machines[at].registration(&mut world.rng, key, None, false);
                commands.push((asker, Command::Register(registration)));
            }
        }
    }
    world.ask_together(commands).map(drop)
}
