//! CPU time and memory of a process, and percentiles of durations.

use std::fs;
use std::time::Duration;

/// Reads the CPU time and memory of a process from `/proc`.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    pid: u32,
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub rss: u64,
    /// Proportional: resident, with each shared page divided among its users.
    pub pss: u64,
}

impl Meter {
    pub fn of(pid: u32) -> Meter {
        Meter { pid }
    }

    pub fn own() -> Meter {
        Meter::of(std::process::id())
    }

    /// CPU time of the threads that are still running. Those that have ended are not counted; servers rarely end any.
    pub fn cpu(&self) -> Option<Duration> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid)).ok()?;
        let on_cpu = |task: fs::DirEntry| -> Option<u64> {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse().ok()
        };
        Some(Duration::from_nanos(tasks.flatten().filter_map(on_cpu).sum()))
    }

    pub fn memory(&self) -> Option<Memory> {
        parse_rollup(&fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).ok()?)
    }
}

fn parse_rollup(text: &str) -> Option<Memory> {
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find(|l| l.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Memory { rss: field("Rss:")?, pss: field("Pss:")? })
}

/// Percentiles of a list of durations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    pub p50: Duration,
    /// Exceeded by 1 % of them.
    pub p99: Duration,
    pub max: Duration,
}

impl Spread {
    /// All zero for an empty list.
    pub fn of(mut times: Vec<Duration>) -> Spread {
        times.sort_unstable();
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            times.get(rank - 1).copied().unwrap_or_default()
        };
        Spread { p50: at(50), p99: at(99), max: at(100) }
    }
}

/// The median; zero for an empty list.
pub fn median(times: Vec<Duration>) -> Duration {
    Spread::of(times).p50
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_list() {
        let ms = Duration::from_millis;
        assert_eq!(
            Spread::of((1..=200).rev().map(ms).collect()),
            Spread { p50: ms(100), p99: ms(198), max: ms(200) }
        );
        assert_eq!(Spread::of(vec![ms(7)]), Spread { p50: ms(7), p99: ms(7), max: ms(7) });
        assert_eq!(Spread::of(Vec::new()), Spread::default());
        assert_eq!(median(vec![ms(3), ms(1), ms(2)]), ms(2));
    }

    #[test]
    fn a_process_can_measure_itself() {
        let spent = (0..3_000_000u64).fold(0, |a, b| a ^ b.wrapping_mul(a | 1));
        assert!(Meter::own().cpu().unwrap() > Duration::ZERO, "{spent}");
        let memory = Meter::own().memory().unwrap();
        assert!(memory.rss >= memory.pss && memory.pss > 0, "{memory:?}");
        assert_eq!(Meter::of(u32::MAX).cpu(), None);
    }
}
