//! Parses HuJSON (JSON with comments and trailing commas) into a tree that knows where everything stands.

use headsail_wire::json::Verbatim;
use jsonc_parser::ast::{ObjectPropName, Value};
use jsonc_parser::common::{Range, Ranged};
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use crate::text::diag::{Findings, Span};
use crate::text::problem::Problem;
use crate::text::quote::go_quote;

/// The largest policy text that is accepted, in bytes.
pub const MAX_TEXT: usize = 4 << 20;

/// A value of the text with its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub span: Span,
    pub value: Json,
}

/// A JSON value; numbers stay as written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    Array(Vec<Node>),
    Object(Vec<Member>),
}

/// A name and its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Member {
    pub name: String,
    pub span: Span,
    pub value: Node,
}

impl Json {
    /// The name of the kind of value in messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Number(_) => "a number",
            Json::String(_) => "a string",
            Json::Array(_) => "a list",
            Json::Object(_) => "an object",
        }
    }
}

impl Node {
    /// The value as compact JSON.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Json::Null => serde_json::Value::Null,
            Json::Bool(b) => (*b).into(),
            Json::Number(n) => serde_json::from_str(n).unwrap_or_default(),
            Json::String(s) => s.as_str().into(),
            Json::Array(items) => items.iter().map(Node::to_json).collect(),
            Json::Object(members) => serde_json::Value::Object(
                members.iter().map(|m| (m.name.clone(), m.value.to_json())).collect(),
            ),
        }
    }

    /// The value as JSON text, without comments and spaces; numbers are as written.
    pub fn to_verbatim(&self) -> Option<Verbatim> {
        let mut text = String::new();
        self.write(&mut text);
        Verbatim::new(text).ok()
    }

    fn write(&self, out: &mut String) {
        let quoted = |s: &str| serde_json::Value::from(s).to_string();
        match &self.value {
            Json::Null => out.push_str("null"),
            Json::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            Json::Number(n) => out.push_str(n),
            Json::String(s) => out.push_str(&quoted(s)),
            Json::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { "," });
                    item.write(out);
                }
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                for (i, m) in members.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { "," });
                    out.push_str(&quoted(&m.name));
                    out.push(':');
                    m.value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// Parses HuJSON. Problems go to `findings`; `None` if there is no tree to go on with.
pub(crate) fn parse(text: &str, findings: &mut Findings) -> Option<Node> {
    if text.len() > MAX_TEXT {
        let message = format!("the policy has {} bytes; at most {MAX_TEXT} are allowed", text.len());
        findings.add(Problem::LongText, Span::default(), message);
        return None;
    }
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    if let Err((at, message)) = scan(text.as_bytes()) {
        let end = text.ceil_char_boundary(at + 1);
        findings.add(Problem::Syntax, Span { start: at, end }, format!("not valid HuJSON: {message}"));
        return None;
    }
    match parse_to_ast(text, &CollectOptions::default(), &options) {
        Ok(result) => match result.value {
            Some(value) => Some(lower(&value, findings)),
            None => {
                findings.add(Problem::EmptyText, Span::default(), "the policy is empty");
                None
            }
        },
        Err(e) => {
            let message = format!("not valid HuJSON: {}", lower_first(&e.kind().to_string()));
            findings.add(Problem::Syntax, span(e.range()), message);
            None
        }
    }
}

/// Finds what the parser accepts although JSON forbids it: control characters in strings, and other space between
/// values than JSON's. Returns where, and what is wrong.
fn scan(text: &[u8]) -> Result<(), (usize, &'static str)> {
    let mut at = if text.starts_with("\u{feff}".as_bytes()) { 3 } else { 0 };
    let rest = |at: usize| text.get(at..).unwrap_or_default();
    while let Some(b) = text.get(at) {
        at = match b {
            b'"' => scan_string(text, at)?,
            b'/' if rest(at).starts_with(b"//") => {
                rest(at).iter().position(|b| *b == b'\n').map_or(text.len(), |n| at + n)
            }
            b'/' if rest(at).starts_with(b"/*") => {
                rest(at + 2).windows(2).position(|w| w == b"*/").map_or(text.len(), |n| at + n + 4)
            }
            b' '..=b'~' | b'\t' | b'\n' | b'\r' => at + 1,
            _ => return Err((at, "this character is only allowed in a string or a comment")),
        };
    }
    Ok(())
}

/// The end of the string that begins at `at`.
fn scan_string(text: &[u8], mut at: usize) -> Result<usize, (usize, &'static str)> {
    at += 1;
    while let Some(b) = text.get(at) {
        match b {
            b'"' => return Ok(at + 1),
            b'\\' => at += 2,
            0..0x20 => {
                return Err((at, "a string can't contain this character or span lines; write `\\n`"));
            }
            _ => at += 1,
        }
    }
    Ok(text.len())
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

fn span(r: Range) -> Span {
    Span { start: r.start, end: r.end }
}

fn lower(value: &Value<'_>, findings: &mut Findings) -> Node {
    let at = span(value.range());
    let value = match value {
        Value::NullKeyword(_) => Json::Null,
        Value::BooleanLit(b) => Json::Bool(b.value),
        Value::NumberLit(n) => {
            if serde_json::from_str::<serde_json::Value>(n.value).is_err() {
                let message = format!("the number {} is out of range", go_quote(n.value));
                findings.add(Problem::NumberRange, at, message);
            }
            Json::Number(n.value.to_string())
        }
        Value::StringLit(s) => Json::String(s.value.to_string()),
        Value::Array(a) => Json::Array(a.elements.iter().map(|e| lower(e, findings)).collect()),
        Value::Object(o) => {
            let mut members: Vec<Member> = Vec::with_capacity(o.properties.len());
            let mut seen = std::collections::BTreeMap::new();
            for p in &o.properties {
                let name = match &p.name {
                    ObjectPropName::String(s) => s.value.to_string(),
                    ObjectPropName::Word(w) => w.value.to_string(),
                };
                let here = span(p.name.range());
                if seen.insert(name.clone(), here).is_some() {
                    let message = format!("the name `{name}` appears twice");
                    findings.add(Problem::DuplicateName, here, message);
                }
                members.push(Member { name, span: here, value: lower(&p.value, findings) });
            }
            Json::Object(members)
        }
    };
    Node { span: at, value }
}
