//! Map streams: opened, read late or immediately, superseded, disconnected.

use headsail_tailnet::batch::Outcome;
use headsail_tailnet::command::Command;
use headsail_tailnet::delta::Delta;
use headsail_tailnet::model::node::{Presence, StreamNo};
use headsail_wire::ids::NodeId;

use crate::acts::client::{any_machine, node_of_request};
use crate::check::{delta_is_diff, told_is_ought};
use crate::law::{Check, Violation};
use crate::parts::is_of;
use crate::stream::Stream;
use crate::world::World;
use headsail_tailnet::actor::Actor;

/// A client opens its stream. An older stream is superseded, and notices when it is read.
pub fn open(world: &mut World) -> Result<(), Violation> {
    let at = any_machine(world);
    let Some((actor, node)) = node_of_request(world, at)? else { return Ok(()) };
    let stream = world.next_stream();
    let telling = world.machines[at].telling(&mut world.rng);
    if world.ask(actor, Command::StreamOpened { node, stream, telling })? != Outcome::Done {
        return Ok(());
    }
    world.streams.iter_mut().filter(|s| s.node == node).for_each(|s| s.superseded = true);
    world.streams.push(Stream { no: stream, node, machine: at, superseded: false, told: None });
    if world.rng.chance(80) { read_at(world, world.streams.len() - 1) } else { Ok(()) }
}

/// A random stream sends its next frame, while the others lag.
pub fn read(world: &mut World) -> Result<(), Violation> {
    match world.streams.len() as u64 {
        0 => Ok(()),
        n => {
            let at = world.rng.below(n) as usize;
            read_at(world, at)
        }
    }
}

/// A stream sends its next frame, or ends because its node was deleted or a newer stream has superseded it.
pub fn read_at(world: &mut World, at: usize) -> Result<(), Violation> {
    let now = world.clerk.published.clone();
    let (no, viewer) = (world.streams[at].no, world.streams[at].node);
    let Some(presence) = now.node(viewer).map(|n| n.presence) else {
        world.streams.remove(at);
        return Ok(());
    };
    if (world.parts.is_superseded)(presence, no) {
        world.must(Check::Presence, world.streams[at].superseded, || {
            format!("node {viewer} has a stream, but is {presence:?}")
        })?;
        let stream = world.streams.remove(at);
        return superseded(world, stream);
    }
    world.must(Check::Presence, is_of(presence, no), || {
        format!("a stream of node {viewer} continues, although the node is {presence:?}")
    })?;
    let told = world.streams[at].told.take();
    let (mut map, frame) = match told {
        None => match (world.parts.project)(&now, viewer) {
            Some(map) => (None, Some((world.parts.first)(&map))),
            None => {
                return world.must(Check::FirstFrame, false, || format!("node {viewer} has no view"));
            }
        },
        Some((then, map)) => {
            if world.minds(Check::Told) {
                delta_is_diff(world, &then, &now, viewer)?;
            }
            match (world.parts.delta)(&then, &now, viewer) {
                Delta::Gone => {
                    return world.must(Check::Told, false, || {
                        format!("node {viewer} exists, but its stream is told that it was deleted")
                    });
                }
                Delta::Nothing => (Some(map), None),
                Delta::Frame(frame) => (Some(map), Some(*frame)),
            }
        }
    };
    told_is_ought(world, &mut map, frame.unwrap_or_default(), viewer)?;
    world.streams[at].told = map.map(|map| (now, map));
    Ok(())
}

/// A superseded stream ends, which must not change its node.
fn superseded(world: &mut World, stream: Stream) -> Result<(), Violation> {
    let before = presence(world, stream.node);
    close(world, stream.node, stream.no, stream.machine)?;
    world.must(Check::Presence, presence(world, stream.node) == before, || {
        format!("the end of an old stream changed node {}", stream.node)
    })
}

fn presence(world: &World, node: NodeId) -> Option<Presence> {
    world.clerk.published.node(node).map(|n| n.presence)
}

fn close(world: &mut World, node: NodeId, no: StreamNo, machine: usize) -> Result<(), Violation> {
    let stream = match (world.parts.ends_by_number, presence(world, node)) {
        (false, Some(Presence::Online { stream, .. })) => stream,
        _ => no,
    };
    let actor = Actor::Machine(world.machines[machine].key);
    world.ask(actor, Command::StreamClosed { node, stream }).map(drop)
}

/// Connections break: one stream, or those of a whole site.
pub fn disconnect(world: &mut World) -> Result<(), Violation> {
    let count = if world.rng.chance(15) { 3 } else { 1 };
    for _ in 0..count.min(world.streams.len()) {
        let at = world.rng.below(world.streams.len() as u64) as usize;
        let stream = world.streams.remove(at);
        close(world, stream.node, stream.no, stream.machine)?;
    }
    Ok(())
}
