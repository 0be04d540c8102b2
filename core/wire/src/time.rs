//! Timestamps, as the core uses them.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time: microseconds since the Unix epoch, UTC.
///
/// In JSON it is RFC 3339 text. Go's zero time (`0001-01-01T00:00:00Z`), which means "unset", is read like any other
/// time. Fields that Go writes even if they are unset are an `Option<Time>` that goes through [`go_time`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(i64);

/// The text that Go writes for a time that was never set.
pub const GO_ZERO_TIME: &str = "0001-01-01T00:00:00Z";

impl Time {
    /// The Unix epoch.
    pub const EPOCH: Time = Time(0);

    /// The time this many microseconds after the Unix epoch.
    pub const fn from_micros(us: i64) -> Time {
        Time(us)
    }

    /// The time this many seconds after the Unix epoch, saturating.
    pub const fn from_secs(s: i64) -> Time {
        Time(s.saturating_mul(1_000_000))
    }

    /// Microseconds since the Unix epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// This time moved by a number of seconds, saturating.
    pub const fn plus_secs(self, s: i64) -> Time {
        Time(self.0.saturating_add(s.saturating_mul(1_000_000)))
    }

    /// This time moved by a number of milliseconds, saturating.
    pub const fn plus_millis(self, ms: i64) -> Time {
        Time(self.0.saturating_add(ms.saturating_mul(1_000)))
    }

    /// Microseconds from `earlier` until `self`; negative when `self` is the earlier one.
    pub const fn since(self, earlier: Time) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Reads RFC 3339 text.
    ///
    /// # Errors
    /// The text is not RFC 3339, or its year is beyond 9999. Go's zero time is accepted.
    pub fn parse(text: &str) -> Result<Time, String> {
        text.parse::<Timestamp>()
            .map(|t| Time(t.as_microsecond()))
            .map_err(|_| format!("`{text}` is not a time; write it like 2026-01-31T12:00:00Z"))
    }

    /// Whether this is the instant that Go uses for "unset".
    fn is_go_zero(self) -> bool {
        self.0 == -62_135_596_800_000_000
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Timestamp::from_microsecond(self.0) {
            Ok(t) => t.fmt(f),
            Err(_) => f.write_str(GO_ZERO_TIME),
        }
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Time, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(d)?;
        Time::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Serde functions for times that Go always writes, using its zero time for "unset".
pub mod go_time {
    use super::{GO_ZERO_TIME, Time};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes `None` as Go's zero time.
    pub fn serialize<S: Serializer>(t: &Option<Time>, s: S) -> Result<S::Ok, S::Error> {
        match t {
            Some(t) => t.serialize(s),
            None => s.serialize_str(GO_ZERO_TIME),
        }
    }

    /// Reads Go's zero time, null and "" as `None`.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Time>, D::Error> {
        let text = Option::<std::borrow::Cow<str>>::deserialize(d)?;
        match text.as_deref() {
            None | Some("") => Ok(None),
            Some(t) => {
                let t = Time::parse(t).map_err(serde::de::Error::custom)?;
                Ok(if t.is_go_zero() { None } else { Some(t) })
            }
        }
    }
}
