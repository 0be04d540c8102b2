//! How values are read from clients of several generations, and how they are written.
//!
//! Every module here is meant for `#[serde(with = "…")]` or `#[serde(deserialize_with = "…")]`. They read from JSON and
//! from query strings alike, where every value is text.

use std::fmt;
use std::str::FromStr;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// `null` as the default of the type.
pub fn or_default<'de, D, T>(d: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// Reads a flag: a JSON boolean or its text, with Go's spellings. Nothing at all means `false`.
pub fn flag<'de, D: Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    struct Flag;
    impl<'de> Visitor<'de> for Flag {
        type Value = bool;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true or false")
        }
        fn visit_bool<E: Error>(self, v: bool) -> Result<bool, E> {
            Ok(v)
        }
        fn visit_unit<E: Error>(self) -> Result<bool, E> {
            Ok(false)
        }
        fn visit_str<E: Error>(self, v: &str) -> Result<bool, E> {
            match v {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
                "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
                _ => Err(E::invalid_value(serde::de::Unexpected::Str(v), &self)),
            }
        }
    }
    d.deserialize_any(Flag)
}

/// Either a number or its text: `7`, `"7"`. Absent, `null` and empty text read as `None`.
struct Number;

impl<'de> Visitor<'de> for Number {
    type Value = Option<u64>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id: a whole number, as a number or as text")
    }
    fn visit_u64<E: Error>(self, v: u64) -> Result<Self::Value, E> {
        Ok(Some(v))
    }
    fn visit_i64<E: Error>(self, v: i64) -> Result<Self::Value, E> {
        u64::try_from(v).map(Some).map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(v), &self))
    }
    fn visit_str<E: Error>(self, v: &str) -> Result<Self::Value, E> {
        match v {
            "" => Ok(None),
            _ => {
                u64::from_str(v).map(Some).map_err(|_| E::invalid_value(serde::de::Unexpected::Str(v), &self))
            }
        }
    }
    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// A 64-bit id, written as text.
pub mod id {
    use serde::{Deserializer, Serializer};

    /// Writes the id as text, because JavaScript loses digits of large numbers.
    pub fn serialize<S: Serializer>(id: &u64, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(id)
    }

    /// Reads a number or its text; nothing is 0.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
        Ok(d.deserialize_any(super::Number)?.unwrap_or(0))
    }
}

/// An id that may be missing. Older clients send 0 for "none".
pub mod opt_id {
    use serde::{Deserializer, Serializer};

    /// Writes the id as text, or `null`.
    pub fn serialize<S: Serializer>(id: &Option<u64>, s: S) -> Result<S::Ok, S::Error> {
        match id {
            Some(id) => s.collect_str(id),
            None => s.serialize_none(),
        }
    }

    /// Reads a number or its text; nothing and 0 are `None`.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
        Ok(d.deserialize_any(super::Number)?.filter(|&id| id != 0))
    }
}

/// Reads a time that may be missing: RFC 3339 text; `null`, empty text and Go's zero time are `None`.
pub fn opt_time<'de, D: Deserializer<'de>>(d: D) -> Result<Option<jiff::Timestamp>, D::Error> {
    let Some(text) = Option::<String>::deserialize(d)?.filter(|t| !t.is_empty()) else { return Ok(None) };
    let time: jiff::Timestamp = text.parse().map_err(|_| {
        D::Error::custom(format_args!("`{text}` is not a time; write it like 2026-01-31T12:00:00Z"))
    })?;
    Ok(Some(time).filter(|t| *t != GO_ZERO_TIME))
}

/// What Go writes for a time that was never set: 0001-01-01T00:00:00Z.
pub const GO_ZERO_TIME: jiff::Timestamp = jiff::Timestamp::constant(-62_135_596_800, 0);
