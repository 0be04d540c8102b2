//! Plays histories, and prints the command that repeats a failing one.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::acts;
use crate::check::{after_step, follower_reads, replay, writers};
use crate::law::{Check, Violation};
use crate::parts::Parts;
use crate::world::World;

/// How many histories are played, unless `HEADSAIL_SIM_SEEDS` says otherwise.
const SEEDS: u64 = 250;
/// How many acts a history has, unless `HEADSAIL_SIM_STEPS` says otherwise.
const STEPS: u64 = 120;

/// How many earlier snapshots are kept to compute deltas from.
const PAST: usize = 8;

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Plays the history of one seed, and returns its transcript.
///
/// # Errors
/// The first check that failed, and at which step.
pub fn history(seed: u64, steps: u64, parts: Parts, checks: &[Check]) -> Result<Vec<u64>, (u64, Violation)> {
    let mut world = World::new(seed, parts, checks);
    for step in 0..steps {
        step_on(&mut world).map_err(|violation| (step, violation))?;
    }
    at_the_end(&mut world).map_err(|violation| (steps, violation))?;
    Ok(world.transcript)
}

/// Lets one act happen, and runs the checks.
fn step_on(world: &mut World) -> Result<(), Violation> {
    world.past.push_back(world.clerk.published.clone());
    if world.past.len() > PAST {
        world.past.pop_front();
    }
    acts::one(world)?;
    world.handle_due()?;
    after_step(world)
}

/// Ends a history: every stream reads to the end, and all checks run once more.
fn at_the_end(world: &mut World) -> Result<(), Violation> {
    for at in (0..world.streams.len()).rev() {
        acts::streams::read_at(world, at)?;
    }
    world.clerk.disk.broken = false;
    world.handle_due()?;
    follower_reads(world)?;
    if world.minds(Check::Writers) {
        writers(world)?;
    }
    if world.minds(Check::Replay) {
        replay(world, world.clerk.disk.missed)?;
    }
    after_step(world)
}

/// The number of steps of a history: `HEADSAIL_SIM_STEPS`, or the default.
pub fn steps() -> u64 {
    from_env("HEADSAIL_SIM_STEPS").unwrap_or(STEPS)
}

/// For each check that failed: the first seed with which it did, the step, and what was observed.
type Findings = BTreeMap<Check, (u64, u64, String)>;

/// Fails if a check fails in any history. Every history is played once with all checks; this reports the result of one of them.
/// `HEADSAIL_SIM_SEED` selects a single history, `HEADSAIL_SIM_SEEDS` their number.
///
/// # Panics
/// The check failed. The message has the first seed with which it did, and the command that repeats it.
pub fn hold(check: Check) {
    static FOUND: OnceLock<Findings> = OnceLock::new();
    answer(FOUND.get_or_init(|| each_seed(SEEDS, with_all_checks)), check);
}

/// The same for I8: plays each history twice, and compares everything that was decided and sent.
///
/// # Panics
/// Two runs differ. The message has the first seed with which they do, and the command that repeats it.
pub fn hold_twice() {
    let found = each_seed(SEEDS / 8, |seed, found| {
        if let Err((step, violation)) = twice(seed, steps(), Parts::real()) {
            note(found, seed, step, violation);
        }
    });
    answer(&found, Check::SameBytes);
}

fn answer(found: &Findings, check: Check) {
    let Some((seed, step, text)) = found.get(&check) else { return };
    let steps = match steps() {
        STEPS => String::new(),
        other => format!("HEADSAIL_SIM_STEPS={other} "),
    };
    let test = check.test();
    panic!(
        "seed {seed}, step {step}: {text}\nrepeat with: HEADSAIL_SIM_SEED={seed} {steps}cargo test -p headsail-sim {test}"
    );
}

fn note(found: &mut Findings, seed: u64, step: u64, violation: Violation) {
    let first = found.entry(violation.check).or_insert((seed, step, violation.text.clone()));
    if seed < first.0 {
        *first = (seed, step, violation.text);
    }
}

/// Plays a history with all checks that have not failed with an earlier seed. After a failure, plays it again without that check.
fn with_all_checks(seed: u64, found: &mut Findings) {
    let mut checks: Vec<Check> = Check::ALL.to_vec();
    checks.retain(|check| found.get(check).is_none_or(|(first, ..)| *first > seed));
    while let Err((step, violation)) = history(seed, steps(), Parts::real(), &checks) {
        let asked = checks.len();
        checks.retain(|check| *check != violation.check);
        assert!(checks.len() < asked, "{:?} failed without being selected", violation.check);
        note(found, seed, step, violation);
    }
}

/// Distributes the seeds over as many threads as there are processors.
fn each_seed(usual: u64, play: impl Fn(u64, &mut Findings) + Sync) -> Findings {
    let seeds = match from_env("HEADSAIL_SIM_SEED") {
        Some(seed) => seed..seed.saturating_add(1),
        None => 0..from_env("HEADSAIL_SIM_SEEDS").unwrap_or(usual),
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut found = Findings::new();
    std::thread::scope(|scope| {
        let (seeds, play) = (&seeds, &play);
        let part = |at: usize| {
            let mut found = Findings::new();
            seeds.clone().skip(at).step_by(threads).for_each(|seed| play(seed, &mut found));
            found
        };
        let running: Vec<_> = (0..threads).map(|at| scope.spawn(move || part(at))).collect();
        for thread in running {
            let part = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            for (check, (seed, step, text)) in part {
                note(&mut found, seed, step, Violation { check, text });
            }
        }
    });
    found
}

/// Plays a history twice.
///
/// # Errors
/// The two runs differ, or a check failed.
pub fn twice(seed: u64, steps: u64, parts: Parts) -> Result<(), (u64, Violation)> {
    let first = history(seed, steps, parts, &[Check::SameBytes])?;
    let second = history(seed, steps, parts, &[Check::SameBytes])?;
    match first.iter().zip(&second).position(|(a, b)| a != b) {
        None if first.len() == second.len() => Ok(()),
        at => Err((
            0,
            Violation {
                check: Check::SameBytes,
                text: format!(
                    "the two runs differ at entry {} of their transcripts",
                    at.unwrap_or(first.len().min(second.len()))
                ),
            },
        )),
    }
}

/// The first of `seeds` seeds with which a check notices that parts are broken.
pub fn noticed(parts: Parts, check: Check, seeds: u64) -> Option<u64> {
    (0..seeds).find(|seed| match check {
        Check::SameBytes => twice(*seed, STEPS, parts).is_err(),
        check => history(*seed, STEPS, parts, &[check]).is_err(),
    })
}
