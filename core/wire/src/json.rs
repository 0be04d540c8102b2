//! JSON as Go reads it: field names match in any case, and null leaves a field at its zero value.

use std::borrow::Cow;

use serde::de::value::CowStrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde::{Deserialize, Serialize, forward_to_deserialize_any};
use serde_json::value::RawValue;
use serde_json::{Error, Map, Value};

/// Decodes a request body the way Go's `encoding/json` does: an exact match of a field name wins over one that differs in
/// case, unknown names are ignored, and null counts as absent.
///
/// # Errors
/// The body is not JSON, or a value has the wrong type.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    let value: Value = serde_json::from_slice(body)?;
    T::deserialize(GoValue(value))
}

/// Whether a value is its type's default: Go's `omitempty`.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Reads null as the default.
pub fn null_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// Reads Go's `opt.Bool`: true or false, as a boolean or as a string; null and "" stand for unset.
pub fn opt_bool<'de, D: Deserializer<'de>>(d: D) -> Result<Option<bool>, D::Error> {
    let value = Value::deserialize(d)?;
    match (value.as_bool(), value.as_str()) {
        (Some(on), _) => Ok(Some(on)),
        (None, Some("true")) => Ok(Some(true)),
        (None, Some("false")) => Ok(Some(false)),
        (None, Some("")) => Ok(None),
        (None, None) if value.is_null() => Ok(None),
        (None, _) => Err(de::Error::custom(format!("`{value}` is not true, false or null"))),
    }
}

/// A JSON value that is stored and compared as the text it was written in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Verbatim(Box<RawValue>);

impl Verbatim {
    /// Wraps the text of one JSON value.
    ///
    /// # Errors
    /// The text is not exactly one JSON value.
    pub fn new(text: String) -> Result<Verbatim, Error> {
        RawValue::from_string(text).map(Verbatim)
    }

    /// The JSON text.
    pub fn text(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Verbatim {
    fn eq(&self, other: &Verbatim) -> bool {
        self.text() == other.text()
    }
}
impl Eq for Verbatim {}

/// Deserializes from a value as Go does, at every depth.
struct GoValue(Value);

impl<'de> IntoDeserializer<'de, Error> for GoValue {
    type Deserializer = GoValue;
    fn into_deserializer(self) -> GoValue {
        self
    }
}

impl<'de> Deserializer<'de> for GoValue {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(Items(items.into_iter())),
            Value::Object(map) => {
                visitor.visit_map(Entries::of(map.into_iter().map(|(key, value)| (key.into(), value))))
            }
            scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                scalar.deserialize_any(visitor)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(map) => visitor.visit_map(Entries::of(known_fields(map, fields))),
            Value::Array(_) => Err(de::Error::invalid_type(de::Unexpected::Seq, &"an object")),
            scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                scalar.deserialize_any(visitor)
            }
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

struct Items(std::vec::IntoIter<Value>);

impl<'de> SeqAccess<'de> for Items {
    type Error = Error;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|v| seed.deserialize(GoValue(v))).transpose()
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// The entries of an object that are fields of a struct, in the order of the struct. As in Go, the last of several values
/// wins, null leaves a field alone, and unknown names are ignored. Untrusted clients choose how many entries an object
/// has, so the cost of each entry depends only on the struct.
fn known_fields(
    map: Map<String, Value>,
    fields: &'static [&'static str],
) -> impl Iterator<Item = (Cow<'static, str>, Value)> {
    let mut found: Vec<Option<Value>> = fields.iter().map(|_| None).collect();
    for (key, value) in map.into_iter().filter(|(_, value)| !value.is_null()) {
        let exact = fields.iter().position(|f| **f == key);
        let at = exact.or_else(|| fields.iter().position(|f| f.eq_ignore_ascii_case(&key)));
        if let Some(slot) = at.and_then(|at| found.get_mut(at)) {
            *slot = Some(value);
        }
    }
    fields.iter().zip(found).filter_map(|(name, value)| Some((Cow::Borrowed(*name), value?)))
}

/// The entries of an object, one by one.
struct Entries<I> {
    rest: I,
    value: Option<Value>,
}

impl<I> Entries<I> {
    fn of(rest: I) -> Entries<I> {
        Entries { rest, value: None }
    }
}

impl<'de, I: Iterator<Item = (Cow<'static, str>, Value)>> MapAccess<'de> for Entries<I> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(KeyText(key)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(GoValue(self.value.take().unwrap_or(Value::Null)))
    }
}

/// A map key. It is text, but maps with integer keys read it as a number.
struct KeyText(Cow<'static, str>);

macro_rules! number_keys {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.0.parse::<i64>() {
                Ok(n) if n >= 0 => visitor.visit_u64(n.unsigned_abs()),
                Ok(n) => visitor.visit_i64(n),
                Err(_) => visitor.visit_string(self.0.into_owned()),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for KeyText {
    type Error = Error;
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text: CowStrDeserializer<'_, Error> = self.0.into_deserializer();
        text.deserialize_any(visitor)
    }
    number_keys! { deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 }
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }
    forward_to_deserialize_any! {
        bool i128 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple tuple_struct map struct
        enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Deserialize, Debug, PartialEq, Default)]
    #[serde(rename_all = "PascalCase", default)]
    struct Inner {
        #[serde(rename = "RoutableIPs")]
        routable_ips: Vec<String>,
        by_id: BTreeMap<u32, i64>,
    }

    #[derive(Deserialize, Debug, PartialEq, Default)]
    #[serde(rename_all = "PascalCase", default)]
    struct Outer {
        hostinfo: Option<Inner>,
        version: u32,
    }

    #[test]
    fn field_names_match_in_any_case_at_every_depth() {
        let got: Outer = decode(
            br#"{"VERSION":7,"HostInfo":{"RoutableIps":["10.0.0.0/8"],"byid":{"3":-1}},"Unknown":[{}]}"#,
        )
        .unwrap();
        let inner = Inner { routable_ips: vec!["10.0.0.0/8".into()], by_id: BTreeMap::from([(3, -1)]) };
        assert_eq!(got, Outer { version: 7, hostinfo: Some(inner) });
    }

    #[test]
    fn null_leaves_the_zero_value_and_the_last_duplicate_field_wins() {
        let got: Outer =
            decode(br#"{"Version":null,"Hostinfo":{"RoutableIPs":null},"version":1,"VERSION":2}"#).unwrap();
        assert_eq!(got, Outer { version: 2, hostinfo: Some(Inner::default()) });
    }

    #[test]
    fn decoding_an_object_takes_time_linear_in_its_length() {
        let object = |n: usize, key: fn(usize) -> String| {
            let entries: Vec<String> = (0..n).map(|i| format!(r#""{}":{}"#, key(i), i % 2)).collect();
            format!("{{{}}}", entries.join(","))
        };
        // Comparing each pair of entries would take five billion comparisons for each of these objects.
        let unknown = object(100_000, |i| format!("x{i}"));
        assert_eq!(decode::<Outer>(unknown.as_bytes()).unwrap(), Outer::default());
        let numbers = object(100_000, |i| i.to_string());
        let inner: Inner = decode(format!(r#"{{"ById":{numbers}}}"#).as_bytes()).unwrap();
        assert_eq!((inner.by_id.len(), inner.by_id.get(&99_999)), (100_000, Some(&1)));

        let Ok(Value::Object(map)) = serde_json::from_str(&object(128, |i| spelling("Version", i))) else {
            panic!("the entries form an object")
        };
        assert_eq!(map.len(), 128);
        let kept: Vec<_> = known_fields(map, &["Hostinfo", "Version"]).collect();
        assert_eq!(kept, [(Cow::Borrowed("Version"), Value::from(1))], "the last spelling wins");
    }

    /// `name` in upper case where `bits` has ones, in lower case elsewhere.
    fn spelling(name: &str, bits: usize) -> String {
        let cased = |(i, c): (usize, char)| {
            if bits >> i & 1 == 0 { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() }
        };
        name.chars().enumerate().map(cased).collect()
    }

    #[test]
    fn wrong_types_and_malformed_json_are_errors() {
        assert!(decode::<Outer>(br#"{"Version":"x"}"#).is_err());
        assert!(decode::<Outer>(b"{").is_err());
        assert!(decode::<Outer>(b"[]").is_err());
    }
}
