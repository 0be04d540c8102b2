//! Serde helpers that accept values as several generations of clients send them.
//!
//! They are used with `#[serde(with = "…")]` and `#[serde(deserialize_with = "…")]`, and parse both JSON and query strings,
//! in which every value is a string.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::fmt::temporal::Pieces;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serializer};

/// Parses a value, with `null` as the type's default.
pub fn or_default<'de, D, T>(d: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// Parses a JSON boolean or a string with Go's spellings of one. `null` and the empty string mean `false`.
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

/// Parses a number or a string of digits: `7`, `"7"`. `null` and the empty string are `None`.
struct Number;

impl<'de> Visitor<'de> for Number {
    type Value = Option<u64>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id: a whole number or a string of digits")
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

/// A 64-bit id, written as a string because JavaScript numbers lose digits above 2^53.
pub struct Id;

impl Id {
    /// Writes the id as a string.
    pub fn serialize<S: Serializer>(id: &u64, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(id)
    }

    /// Parses a number or a string of digits; `null` and the empty string are 0.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
        Ok(d.deserialize_any(Number)?.unwrap_or(0))
    }
}

/// An optional id. Older clients send 0 for "none".
pub struct OptId;

impl OptId {
    /// Writes the id as a string, or `null`.
    pub fn serialize<S: Serializer>(id: &Option<u64>, s: S) -> Result<S::Ok, S::Error> {
        match id {
            Some(id) => s.collect_str(id),
            None => s.serialize_none(),
        }
    }

    /// Parses a number or a string of digits; `null`, the empty string and 0 are `None`.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
        Ok(d.deserialize_any(Number)?.filter(|&id| id != 0))
    }
}

/// The pattern of an id in the schemas.
const ID_PATTERN: &str = "^[0-9]{1,20}$";

impl JsonSchema for Id {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Id".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "uint64", "pattern": ID_PATTERN })
    }
}

impl JsonSchema for OptId {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "OptId".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "null"], "format": "uint64", "pattern": ID_PATTERN })
    }
}

/// Parses an optional RFC 3339 time. `null`, the empty string and Go's zero time are `None`. A time after [`LAST_TIME`], such
/// as 9999-12-31T23:59:59Z, becomes that time; a time before the year 1 is an error.
pub fn opt_time<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Timestamp>, D::Error> {
    let Some(text) = Option::<String>::deserialize(d)?.filter(|t| !t.is_empty()) else { return Ok(None) };
    match time(&text) {
        None => {
            Err(D::Error::custom(format_args!("`{text}` is not a time; write it like 2026-01-31T12:00:00Z")))
        }
        Some(t) if t < GO_ZERO_TIME => Err(D::Error::custom(format_args!(
            "`{text}` is before the year 1; send a later time, or omit it"
        ))),
        Some(t) => Ok(Some(t).filter(|t| *t != GO_ZERO_TIME)),
    }
}

/// Parses an RFC 3339 time; a time after [`LAST_TIME`] becomes that time.
fn time(text: &str) -> Option<Timestamp> {
    // `Timestamp` cannot represent the last hours of the year 9999.
    let past_the_end = || {
        let pieces = Pieces::parse(text).ok()?;
        let complete = pieces.time().is_some() && pieces.offset().is_some();
        (complete && pieces.date().year() == 9999).then_some(LAST_TIME)
    };
    text.parse().ok().or_else(past_the_end).map(|t: Timestamp| t.min(LAST_TIME))
}

/// The latest supported time, 9999-12-30T22:00:00Z: the last one that the database can store in microseconds.
pub const LAST_TIME: Timestamp = Timestamp::constant(253_402_207_200, 0);

/// Go's zero time, which Go writes for a time that was never set: 0001-01-01T00:00:00Z.
pub const GO_ZERO_TIME: Timestamp = Timestamp::constant(-62_135_596_800, 0);
