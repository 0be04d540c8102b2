//! What nobody decides: time, configuration files, disks that fill up, processes that die.

use std::sync::Arc;

use headsail_tailnet::command::Command;
use headsail_tailnet::model::settings::{Allocation, Settings};
use headsail_wire::derp_map::{DerpMap, DerpRegion};
use headsail_wire::dns::DnsConfig;

use crate::check::{Check, Violation, replay};
use crate::rng::Rng;
use crate::world::{Asker, World};

/// How many logins may wait at once in the model world: few, so that the bound is met.
const TICKETS: usize = 4;

/// Any configuration.
pub fn settings(rng: &mut Rng) -> Settings {
    let (v4, v6) = match rng.below(8) {
        0 => (Some("100.64.0.0/10"), None),
        1 => (None, Some("fd7a:115c:a1e0::/48")),
        2 => (Some("100.64.7.0/27"), Some("fd7a:115c:a1e0::/48")),
        _ => (Some("100.64.0.0/10"), Some("fd7a:115c:a1e0::/48")),
    };
    let domains = ["mesh.internal", "mesh.internal", "other.example"];
    Settings {
        base_domain: rng.pick(&domains).copied().unwrap_or_default().into(),
        v4: v4.and_then(|net| net.parse().ok()),
        v6: v6.and_then(|net| net.parse().ok()),
        allocation: if rng.chance(70) { Allocation::Sequential } else { Allocation::Random },
        dns: Arc::new(DnsConfig { proxied: rng.chance(50), ..DnsConfig::default() }),
        derp: Arc::new(derp_map(rng)),
        node_expiry: rng.chance(40).then(|| 100 + rng.below(100_000) as i64),
        ephemeral_timeout: 10 + rng.below(200) as i64,
        grace_millis: rng.below(20_000) as i64,
        taildrop: rng.chance(80),
        auto_update: rng.chance(20),
        ticket_secs: 60 + rng.below(900) as i64,
        max_tickets: TICKETS,
        ..Settings::basic()
    }
}

fn derp_map(rng: &mut Rng) -> DerpMap {
    let region =
        |id: u32| DerpRegion { region_id: id, region_code: format!("r{id}"), ..DerpRegion::default() };
    let regions = (1..4).filter(|_| rng.chance(60)).map(|id| (id, region(id))).collect();
    DerpMap { regions, ..DerpMap::default() }
}

/// The configuration is read again.
///
/// # Errors
/// What doesn't hold after it.
pub fn configure(world: &mut World) -> Result<(), Violation> {
    let mut next = Settings::clone(&world.settings);
    let other = settings(&mut world.rng);
    match world.rng.below(6) {
        0 => next.base_domain = other.base_domain,
        1 => next.dns = other.dns,
        2 => next.derp = other.derp,
        3 => (next.taildrop, next.auto_update) = (other.taildrop, other.auto_update),
        4 => (next.ephemeral_timeout, next.grace_millis) = (other.ephemeral_timeout, other.grace_millis),
        _ => next = other,
    }
    world.settings = Arc::new(next);
    world.ask(Asker::Server, Command::Configure(world.settings.clone())).map(drop)
}

/// Time passes: not at all, a moment, minutes, a day, or exactly until something is due.
///
/// # Errors
/// Never by itself.
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

/// The disk fills up, or there is room again.
///
/// # Errors
/// Never by itself.
pub fn disk_breaks_or_heals(world: &mut World) -> Result<(), Violation> {
    world.clerk.disk.broken = !world.clerk.disk.broken && world.rng.chance(50);
    Ok(())
}

/// The process dies and starts again.
///
/// # Errors
/// It is not what it was.
pub fn crash(world: &mut World) -> Result<(), Violation> {
    if world.rng.chance(50) {
        world.clerk.disk.flush();
    }
    world.clerk.disk.lose_unflushed();
    if world.minds(Check::Replay) {
        replay(world, true)?;
    }
    world.restart()
}

/// The server is told to stop, and starts again.
///
/// # Errors
/// It is not what it was.
pub fn orderly_restart(world: &mut World) -> Result<(), Violation> {
    world.clerk.disk.broken = false;
    world.ask(Asker::Server, Command::Shutdown)?;
    world.clerk.disk.flush();
    if world.minds(Check::Replay) {
        // What was told while the disk was broken is not on it.
        replay(world, world.clerk.disk.missed)?;
    }
    world.clerk.disk.lose_unflushed();
    world.restart()
}
