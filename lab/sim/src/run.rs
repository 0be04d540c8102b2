//! Plays histories, and says how to repeat one that fails.

use crate::check::{self, Check, Violation};
use crate::parts::Parts;
use crate::world::World;

/// How many histories a check is given unless the environment says otherwise.
const SEEDS: u64 = 200;
/// How many things happen in a history.
const STEPS: u64 = 120;

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
        world.step().map_err(|violation| (step, violation))?;
    }
    check::at_the_end(&mut world).map_err(|violation| (steps, violation))?;
    Ok(world.transcript)
}

/// The number of steps of a history: `HEADSAIL_SIM_STEPS`, or the usual number.
pub fn steps() -> u64 {
    from_env("HEADSAIL_SIM_STEPS").unwrap_or(STEPS)
}

/// Plays many histories with one check: the one of `HEADSAIL_SIM_SEED`, else `HEADSAIL_SIM_SEEDS` of them.
///
/// # Panics
/// At the first seed that fails, with the command that repeats it.
pub fn hold(check: Check) {
    each_seed(check, |seed| history(seed, steps(), Parts::real(), &[check]).map(drop));
}

/// Plays every history twice, and compares all that was decided and sent.
///
/// # Panics
/// At the first seed that differs, with the command that repeats it.
pub fn hold_twice() {
    each_seed(Check::SameBytes, |seed| twice(seed, steps(), Parts::real()));
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

fn each_seed(check: Check, play: impl Fn(u64) -> Result<(), (u64, Violation)>) {
    let seeds = match from_env("HEADSAIL_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..from_env("HEADSAIL_SIM_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        if let Err((step, violation)) = play(seed) {
            let steps = match steps() {
                STEPS => String::new(),
                other => format!("HEADSAIL_SIM_STEPS={other} "),
            };
            panic!(
                "seed {seed}, step {step}: {}\nrepeat with: HEADSAIL_SIM_SEED={seed} {steps}cargo test -p headsail-sim {}",
                violation.text,
                check.test(),
            );
        }
    }
}

/// The first seed at which broken parts are noticed by a check, among the first `seeds`.
pub fn noticed(parts: Parts, check: Check, seeds: u64) -> Option<u64> {
    (0..seeds).find(|seed| match check {
        Check::SameBytes => twice(*seed, STEPS, parts).is_err(),
        check => history(*seed, STEPS, parts, &[check]).is_err(),
    })
}
