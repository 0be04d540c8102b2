//! Plays histories, and says how to repeat one that fails.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::acts;
use crate::check::{after_step, follower_reads, replay, writers};
use crate::law::{Check, Violation};
use crate::parts::Parts;
use crate::world::World;

/// How many histories a check is given unless the environment says otherwise.
const SEEDS: u64 = 250;
/// How many things happen in a history.
const STEPS: u64 = 120;

/// How many earlier snapshots are kept to tell deltas from.
const PAST: usize = 8;

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Plays the history of one seed and returns its transcript.
///
/// # Errors
/// What didn't hold, and when.
pub fn history(seed: u64, steps: u64, parts: Parts, checks: &[Check]) -> Result<Vec<u64>, (u64, Violation)> {
    let mut world = World::new(seed, parts, checks);
    for step in 0..steps {
        step_on(&mut world).map_err(|violation| (step, violation))?;
    }
    at_the_end(&mut world).map_err(|violation| (steps, violation))?;
    Ok(world.transcript)
}

/// One more thing happens, and what doesn't hold after it is the error.
fn step_on(world: &mut World) -> Result<(), Violation> {
    world.past.push_back(world.clerk.published.clone());
    if world.past.len() > PAST {
        world.past.pop_front();
    }
    acts::one(world)?;
    world.handle_due()?;
    after_step(world)
}

/// What is looked at when a history is over: every stream reads all there is, and everything is checked once more.
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

/// The number of steps of a history: `HEADSAIL_SIM_STEPS`, or the usual number.
pub fn steps() -> u64 {
    from_env("HEADSAIL_SIM_STEPS").unwrap_or(STEPS)
}

/// For each check that failed, the first seed at which it did, the step, and what was seen.
type Findings = BTreeMap<Check, (u64, u64, String)>;

/// Fails if one of the histories breaks the check. Every history is played once, with all checks; this is the answer
/// for one of them. `HEADSAIL_SIM_SEED` chooses one history, `HEADSAIL_SIM_SEEDS` how many.
///
/// # Panics
/// With the first seed that fails, and the command that repeats it.
pub fn hold(check: Check) {
    static FOUND: OnceLock<Findings> = OnceLock::new();
    answer(FOUND.get_or_init(|| each_seed(SEEDS, with_all_checks)), check);
}

/// The same for I8: plays histories twice, and compares all that was decided and sent.
///
/// # Panics
/// With the first seed that differs, and the command that repeats it.
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

/// Plays a history with all checks that no earlier seed has failed, again without each one that fails in it.
fn with_all_checks(seed: u64, found: &mut Findings) {
    let mut checks: Vec<Check> = Check::ALL.to_vec();
    checks.retain(|check| found.get(check).is_none_or(|(first, ..)| *first > seed));
    while let Err((step, violation)) = history(seed, steps(), Parts::real(), &checks) {
        let asked = checks.len();
        checks.retain(|check| *check != violation.check);
        assert!(checks.len() < asked, "{:?} failed without being asked for", violation.check);
        note(found, seed, step, violation);
    }
}

/// Hands out the seeds to as many threads as there are processors.
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
            let part = thread.join().expect("a history panicked: its message is above");
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
/// Where the second differs from the first.
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
                    "the same history differs at its entry {}",
                    at.unwrap_or(first.len().min(second.len()))
                ),
            },
        )),
    }
}

/// The first seed at which broken parts are noticed by a check, among the first `seeds`.
pub fn noticed(parts: Parts, check: Check, seeds: u64) -> Option<u64> {
    (0..seeds).find(|seed| match check {
        Check::SameBytes => twice(*seed, STEPS, parts).is_err(),
        check => history(*seed, STEPS, parts, &[check]).is_err(),
    })
}
