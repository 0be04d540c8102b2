//! What happens without a request: time passes, the configuration changes, the disk fills up, the process dies.

use std::sync::Arc;

use headsail_tailnet::command::Command;
use headsail_tailnet::model::settings::Settings;

use crate::check::{after_power_cut, replay};
use crate::law::{Check, Violation};
use crate::settings;
use crate::world::World;
use headsail_tailnet::actor::Actor;

/// The configuration changes.
pub fn configure(world: &mut World) -> Result<(), Violation> {
    let mut next = Settings::clone(&world.settings);
    let other = settings::any(&mut world.rng);
    match world.rng.below(6) {
        0 => next.base_domain = other.base_domain,
        1 => next.dns = other.dns,
        2 => next.derp = other.derp,
        3 => (next.taildrop, next.auto_update) = (other.taildrop, other.auto_update),
        4 => (next.ephemeral_timeout, next.grace_millis) = (other.ephemeral_timeout, other.grace_millis),
        _ => next = other,
    }
    world.settings = Arc::new(next);
    world.ask(Actor::Server, Command::Configure(world.settings.clone())).map(drop)
}

/// Time passes: nothing, a moment, minutes, a day, or exactly until the next deadline.
pub fn time_passes(world: &mut World) -> Result<(), Violation> {
    let now = world.clerk.now;
    let later = match world.rng.below(10) {
        0..4 => now.plus_millis(world.rng.below(2000) as i64),
        4..7 => now.plus_secs(world.rng.below(300) as i64),
        7 => now.plus_secs(world.rng.below(90_000) as i64),
        _ => world.clerk.deadlines.deadline().unwrap_or(now),
    };
    world.clerk.now = later.max(now);
    Ok(())
}

/// The disk becomes full, or has room again.
pub fn break_or_repair_disk(world: &mut World) -> Result<(), Violation> {
    world.clerk.disk.broken = !world.clerk.disk.broken && world.rng.chance(50);
    Ok(())
}

/// The process dies and restarts. What it has written is still there.
pub fn crash(world: &mut World) -> Result<(), Violation> {
    if world.minds(Check::Replay) {
        // What was told while the disk was broken is not on it.
        replay(world, world.clerk.disk.missed)?;
    }
    world.restart()
}

/// The power goes, and the machine starts again with what has reached the disk.
///
/// # Errors
/// Something that was acknowledged is lost, or it is not what it was.
pub fn power_cut(world: &mut World) -> Result<(), Violation> {
    let (kept, torn) = (world.rng.below(4) as usize, world.rng.chance(50));
    world.clerk.disk.power_cut(kept, torn, world.parts.recover);
    if world.minds(Check::Durable) {
        after_power_cut(world)?;
    }
    if world.minds(Check::Replay) {
        replay(world, true)?;
    }
    world.restart()
}

/// The server shuts down gracefully and restarts.
pub fn graceful_restart(world: &mut World) -> Result<(), Violation> {
    world.clerk.disk.broken = false;
    world.ask(Actor::Server, Command::Shutdown)?;
    world.clerk.disk.sync();
    if world.minds(Check::Replay) {
        // Volatile changes that happened while the disk was full are not on it.
        replay(world, world.clerk.disk.missed)?;
    }
    world.restart()
}
