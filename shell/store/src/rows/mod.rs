//! Changes as rows with named columns. The database stores them in tables, and the change log as JSON objects.
//!
//! [`encode`] is the only place that knows which table and columns a change writes, and [`decode`] the only one that reads
//! them. Replaying the change log uses the same code as loading the tables.

use serde_json::{Map, Number, Value as Json};

pub mod decode;
pub mod encode;
pub mod unique;

/// The value of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    /// A number, a flag (0 or 1), or a time in microseconds since the Unix epoch.
    Int(i64),
    Text(String),
    /// A JSON document, stored as its text.
    Json(String),
    Blob(Vec<u8>),
}

/// Columns by name, in the order of the table.
pub type Columns = Vec<(&'static str, Value)>;

/// What a change writes.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Inserts a row, or replaces the one with the same key. The first column is the key.
    Put(&'static str, Columns),
    /// Updates some columns of a row, if it exists. The first column is the key.
    Update(&'static str, Columns),
    /// Deletes the row with this key, if it exists.
    Delete(&'static str, (&'static str, Value)),
    /// Makes a policy the newest: its text, and when it was set (microseconds).
    Policy(String, i64),
    /// Raises the next id of a sequence to this one, unless it is higher already.
    Sequence(&'static str, u64),
}

/// Columns that can be read by name.
pub trait Read {
    /// The value of a column.
    ///
    /// # Errors
    /// The column does not exist, or has a type that no column of ours has.
    fn value(&self, column: &str) -> Result<Value, String>;
}

/// The columns of a write as a JSON object: embedded documents as documents, bytes as hexadecimal text.
pub fn to_json(columns: &[(&'static str, Value)]) -> Map<String, Json> {
    columns.iter().map(|(name, value)| ((*name).to_owned(), value.to_json())).collect()
}

impl Value {
    fn to_json(&self) -> Json {
        match self {
            Value::Null => Json::Null,
            Value::Int(n) => Json::Number(Number::from(*n)),
            Value::Text(text) => Json::String(text.clone()),
            Value::Json(text) => serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.clone())),
            Value::Blob(bytes) => Json::String(headsail_wire::keys::hex(bytes)),
        }
    }
}

impl Read for Map<String, Json> {
    fn value(&self, column: &str) -> Result<Value, String> {
        match self.get(column).ok_or("it is missing")? {
            Json::Null => Ok(Value::Null),
            Json::Number(n) => {
                n.as_i64().map(Value::Int).ok_or_else(|| format!("`{n}` is not a whole number"))
            }
            Json::String(text) => Ok(Value::Text(text.clone())),
            Json::Bool(_) => Err("it is a boolean".to_owned()),
            document @ (Json::Array(_) | Json::Object(_)) => Ok(Value::Json(document.to_string())),
        }
    }
}
