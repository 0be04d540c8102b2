//! The process clock: the system's, unless that jumps.
//!
//! Deadlines must not pass because the system clock was wrong for a moment: keys would be refused and nodes expire. The clock
//! is therefore compared with the monotonic one. After a jump, time goes on as before, and the new time is believed once it
//! has lasted.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use headsail_wire::time::Time;

const SECOND: i64 = 1_000_000;
/// The system clock may differ that much from what the monotonic clock makes expect, in microseconds. A clock that is
/// disciplined as usual stays far below.
const TOLERANCE: i64 = 60 * SECOND;
/// How long a new time must last before it is believed, in microseconds of the monotonic clock. Time services that step a
/// clock wrongly correct it within about a minute.
const CONFIRMATION: i64 = 120 * SECOND;

static CLOCK: Mutex<Clock> = Mutex::new(Clock { known: None, latest: i64::MIN, suspect: None });

/// The current time. It never runs backwards, unless the system clock was set back by more than a minute and stays there.
pub fn now() -> Time {
    static START: OnceLock<Instant> = OnceLock::new();
    let micros = |d: std::time::Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
    let mut clock = CLOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, micros);
    let steady = micros(START.get_or_init(Instant::now).elapsed());
    let (time, event) = clock.read(wall, steady);
    drop(clock);
    match event {
        None => {}
        Some(Event::Jumped(by)) => tracing::warn!(
            "the system clock jumped by {} s; the new time is used if it lasts for {} s",
            by / SECOND,
            CONFIRMATION / SECOND
        ),
        Some(Event::Confirmed(by)) => {
            tracing::warn!(
                "the system clock has stayed {} s away; its time is used from now on",
                by / SECOND
            );
        }
        Some(Event::Returned) => tracing::info!("the system clock is right again"),
    }
    Time::from_micros(time)
}

/// What was noticed, with the distance of the jump.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    Jumped(i64),
    Confirmed(i64),
    Returned,
}

/// All times are microseconds.
struct Clock {
    /// The system clock and the monotonic clock, when they were last believed together.
    known: Option<(i64, i64)>,
    /// The latest time that was given.
    latest: i64,
    /// How far the system clock has jumped, and since when by the monotonic clock.
    suspect: Option<(i64, i64)>,
}

impl Clock {
    fn read(&mut self, wall: i64, steady: i64) -> (i64, Option<Event>) {
        let (then, at) = *self.known.get_or_insert((wall, steady));
        let expected = then.saturating_add(steady.saturating_sub(at));
        let jump = wall.saturating_sub(expected);
        if jump.saturating_abs() <= TOLERANCE {
            self.known = Some((wall, steady));
            self.latest = self.latest.max(wall);
            return (self.latest, self.suspect.take().map(|_| Event::Returned));
        }
        let same = self.suspect.filter(|(by, _)| jump.saturating_sub(*by).saturating_abs() <= TOLERANCE);
        let event = match same {
            None => {
                self.suspect = Some((jump, steady));
                Some(Event::Jumped(jump))
            }
            Some((_, since)) if steady.saturating_sub(since) >= CONFIRMATION => {
                *self = Clock { known: Some((wall, steady)), latest: wall, suspect: None };
                return (wall, Some(Event::Confirmed(jump)));
            }
            Some(_) => None,
        };
        self.latest = self.latest.max(expected);
        (self.latest, event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: i64 = 365 * 24 * 3600;

    /// A clock that was read once, at second 1000 of both clocks.
    fn clock() -> Clock {
        let mut clock = Clock { known: None, latest: i64::MIN, suspect: None };
        assert_eq!(read(&mut clock, 1000, 1000), (1000, None));
        clock
    }

    /// In seconds.
    fn read(clock: &mut Clock, wall: i64, steady: i64) -> (i64, Option<Event>) {
        let (time, event) = clock.read(wall * SECOND, steady * SECOND);
        (time / SECOND, event)
    }

    #[test]
    fn small_steps_are_followed_and_never_backwards() {
        let mut clock = clock();
        assert_eq!(read(&mut clock, 1070, 1010), (1070, None));
        assert_eq!(read(&mut clock, 1015, 1015), (1070, None));
        assert_eq!(read(&mut clock, 1080, 1080), (1080, None));
    }

    #[test]
    fn a_jump_ahead_and_back_changes_nothing() {
        let mut clock = clock();
        assert_eq!(read(&mut clock, 1010 + YEAR, 1010), (1010, Some(Event::Jumped(YEAR * SECOND))));
        assert_eq!(read(&mut clock, 1100 + YEAR, 1100), (1100, None));
        assert_eq!(read(&mut clock, 1101, 1101), (1101, Some(Event::Returned)));
        assert_eq!(read(&mut clock, 1102, 1102), (1102, None));
        assert_eq!(read(&mut clock, 900, 1103), (1103, Some(Event::Jumped(-203 * SECOND))));
        assert_eq!(read(&mut clock, 1104, 1104), (1104, Some(Event::Returned)));
    }

    #[test]
    fn a_time_that_lasts_is_believed_in_both_directions() {
        let mut clock = clock();
        read(&mut clock, 1010 + YEAR, 1010);
        let ahead = 1130 + YEAR;
        assert_eq!(read(&mut clock, ahead, 1130), (ahead, Some(Event::Confirmed(YEAR * SECOND))));
        assert_eq!(read(&mut clock, ahead + 1, 1131), (ahead + 1, None));
        let (still, event) = read(&mut clock, 1140, 1140);
        assert_eq!((still, event.is_some()), (ahead + 10, true));
        assert_eq!(read(&mut clock, 1259, 1259).0, ahead + 129);
        assert_eq!(read(&mut clock, 1260, 1260), (1260, Some(Event::Confirmed(-YEAR * SECOND))));
    }

    #[test]
    fn a_clock_that_keeps_jumping_is_not_believed() {
        let mut clock = clock();
        for minute in 1..20 {
            let steady = 1000 + 60 * minute;
            let (time, event) = read(&mut clock, steady + minute % 3 * YEAR, steady);
            assert_eq!((time, event.is_some()), (steady, true));
        }
    }
}
