//! A YAML or JSON document in which every value remembers where it was written.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{Error, Location, Spanned};

/// Bound on nesting, because the parser is recursive. Our documents need less than half of it.
const MAX_DEPTH: usize = 16;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Line and column, from 1.
    File { line: u64, column: u64 },
    /// The name of an environment variable.
    Env(String),
    /// Nowhere: a missing value, or a built-in one.
    Absent,
}

impl From<Location> for Place {
    fn from(location: Location) -> Place {
        match (location.line(), location.column()) {
            (0, _) => Place::Absent,
            (line, column) => Place::File { line, column },
        }
    }
}

/// A value of the document. Scalars stay text, because only their key tells what type they must have.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Text(String),
    List(Vec<Tree>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tree {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// One key of a map with its value; `place` is that of the key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) tree: Tree,
}

/// Why a text, or a value in it, is not what it should be.
#[derive(Debug)]
pub(crate) struct Malformed {
    pub(crate) place: Place,
    pub(crate) why: String,
}

impl Tree {
    /// Parses YAML, of which JSON is a subset. The parser rejects duplicate keys and alias bombs.
    pub(crate) fn parse(text: &str) -> Result<Tree, Malformed> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let budget = serde_saphyr::budget! { max_depth: MAX_DEPTH };
        let options = serde_saphyr::options! { budget: budget };
        match serde_saphyr::from_str_with_options::<Spanned<Parsed>>(text, options) {
            Ok(root) => Ok(build(text, root)),
            Err(error) => {
                let place = error.location().map_or(Place::Absent, Place::from);
                let why = match unquoted(text, &place) {
                    Some(value) => {
                        format!(
                            "`{value}` must be quoted, because it begins with a bracket: write `\"{value}\"`"
                        )
                    }
                    None => explained(error.without_snippet()),
                };
                Err(Malformed { place, why })
            }
        }
    }

    pub(crate) fn text(place: Place, text: impl Into<String>) -> Tree {
        Tree { place, value: Value::Text(text.into()) }
    }

    /// Gives every value the same place: that of the environment variable which contains the document.
    pub(crate) fn relocate(&mut self, place: &Place) {
        self.place = place.clone();
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.relocate(place)),
            Value::Map(entries) => {
                for entry in entries {
                    entry.place = place.clone();
                    entry.tree.relocate(place);
                }
            }
            Value::Null | Value::Text(_) => {}
        }
    }

    /// The value at a dotted path, ignoring the case of keys as Headscale does. Null counts as absent.
    pub(crate) fn get(&self, path: &str) -> Option<&Tree> {
        let mut here = self;
        for part in path.split('.') {
            let Value::Map(entries) = &here.value else { return None };
            here = &entries.iter().find(|entry| entry.key.eq_ignore_ascii_case(part))?.tree;
        }
        (here.value != Value::Null).then_some(here)
    }

    /// Sets the value at a dotted path, creating the maps on the way.
    pub(crate) fn set(&mut self, path: &str, tree: Tree) {
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        if !matches!(self.value, Value::Map(_)) {
            self.value = Value::Map(Vec::new());
        }
        let Value::Map(entries) = &mut self.value else { return };
        let at = match entries.iter().position(|entry| entry.key.eq_ignore_ascii_case(first)) {
            Some(at) => at,
            None => {
                let empty = Tree { place: tree.place.clone(), value: Value::Null };
                entries.push(Entry { key: first.to_owned(), place: tree.place.clone(), tree: empty });
                entries.len() - 1
            }
        };
        match rest {
            Some(rest) => entries[at].tree.set(rest, tree),
            None => entries[at].tree = tree,
        }
    }
}

/// The value that the parser failed on, if that is because YAML takes its leading bracket for a list or a map, as in
/// `[::1]:8080`.
fn unquoted<'a>(text: &'a str, place: &Place) -> Option<&'a str> {
    let Place::File { line, column } = *place else { return None };
    let line = text.lines().nth(usize::try_from(line).ok()?.checked_sub(1)?)?;
    let stop = line.char_indices().nth(usize::try_from(column).ok()?.checked_sub(1)?)?.0;
    let (before, after) = line.split_at_checked(stop)?;
    let open = match before.chars().last()? {
        ']' => '[',
        '}' => '{',
        _ => return None,
    };
    let end = stop + after.find(char::is_whitespace).unwrap_or(after.len());
    line.get(before.rfind(open)?..end)
}

/// Replaces those messages of the parser that are meant for programmers.
fn explained(error: &Error) -> String {
    match error {
        Error::MultipleDocuments { .. } => {
            "there is more than one document: delete the lines `---`".to_owned()
        }
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => {
            format!("it is nested deeper than {MAX_DEPTH} levels")
        }
        Error::Budget { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => "it has too many values or aliases".to_owned(),
        Error::AliasError { error, .. } => explained(error.without_snippet()),
        other => without_place(&other.to_string()),
    }
}

/// Removes the place at the end of the parser's messages: ours begin with it.
fn without_place(message: &str) -> String {
    let end = message.find(" at line ").unwrap_or(message.len());
    message[..end].split(", set DuplicateKeyPolicy").next().unwrap_or_default().to_owned()
}

/// What the YAML parser returns. A scalar that it takes for a number or a boolean is `Typed`; its text is then taken
/// from the source, because values such as `0770` and `1.50` must stay as written.
enum Parsed {
    Null,
    Typed(String),
    Text(String),
    List(Vec<Spanned<Parsed>>),
    Map(Vec<(Spanned<String>, Spanned<Parsed>)>),
}

fn build(source: &str, parsed: Spanned<Parsed>) -> Tree {
    let value = match parsed.value {
        Parsed::Null => Value::Null,
        Parsed::Typed(text) => Value::Text(source_text(source, parsed.defined).unwrap_or(text)),
        Parsed::Text(text) => Value::Text(text),
        Parsed::List(items) => Value::List(items.into_iter().map(|item| build(source, item)).collect()),
        Parsed::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| Entry {
                    key: key.value,
                    place: Place::from(key.referenced),
                    tree: build(source, value),
                })
                .collect(),
        ),
    };
    Tree { place: Place::from(parsed.referenced), value }
}

fn source_text(source: &str, location: Location) -> Option<String> {
    let start = usize::try_from(location.span().byte_offset()?).ok()?;
    let len = usize::try_from(location.span().byte_len()?).ok()?;
    let text = source.get(start..start.checked_add(len)?)?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Parsed, D::Error> {
        deserializer.deserialize_any(ParsedVisitor)
    }
}

struct ParsedVisitor;

impl<'de> Visitor<'de> for ParsedVisitor {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<Parsed, E> {
        Ok(Parsed::Null)
    }
    fn visit_none<E>(self) -> Result<Parsed, E> {
        Ok(Parsed::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Parsed, E> {
        Ok(Parsed::Typed(value.to_string()))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Parsed, E> {
        Ok(Parsed::Typed(value.to_string()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Parsed, E> {
        Ok(Parsed::Typed(value.to_string()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Parsed, E> {
        Ok(Parsed::Typed(value.to_string()))
    }
    fn visit_str<E>(self, value: &str) -> Result<Parsed, E> {
        Ok(Parsed::Text(value.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Parsed, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Parsed::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Parsed, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Parsed::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_at(tree: &Tree, path: &str) -> (String, Place) {
        match tree.get(path) {
            Some(Tree { value: Value::Text(text), place }) => (text.clone(), place.clone()),
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn scalars_keep_their_text_and_their_place() {
        let tree = Tree::parse("a: 0770\nb:\n  c: \"x y\"\n  d: 1.50\ne: yes\nf: ~\n").unwrap();
        assert_eq!(text_at(&tree, "a"), ("0770".into(), Place::File { line: 1, column: 4 }));
        assert_eq!(text_at(&tree, "B.C"), ("x y".into(), Place::File { line: 3, column: 6 }));
        assert_eq!(text_at(&tree, "b.d").0, "1.50");
        assert_eq!(text_at(&tree, "e").0, "yes");
        assert_eq!(tree.get("f"), None);
        assert_eq!(tree.get("b.c.d"), None);
    }

    #[test]
    fn json_and_aliases_are_read() {
        let tree = Tree::parse("{\n\t\"a\": {\"b\": [1,\n\t2]}}").unwrap();
        assert!(matches!(&tree.get("a.b").unwrap().value, Value::List(items) if items.len() == 2));
        let tree = Tree::parse("x: &x\n  k: 12\ny: *x\n").unwrap();
        assert_eq!(text_at(&tree, "y.k").0, "12");
        assert_eq!(Tree::parse("").unwrap().value, Value::Null);
    }

    #[test]
    fn parse_errors_have_a_line_and_column() {
        let error = Tree::parse("a: 1\na: 2\n").unwrap_err();
        assert_eq!(error.place, Place::File { line: 2, column: 1 });
        assert_eq!(error.why, "duplicate mapping key: a");
        let error = Tree::parse("server_url: http://a\n dns: x\n").unwrap_err();
        assert_eq!(error.place, Place::File { line: 2, column: 5 });
    }

    #[test]
    fn parse_errors_are_explained_without_parser_jargon() {
        let why = |text: &str| Tree::parse(text).unwrap_err().why;
        assert_eq!(why("a: 1\n---\nb: 2\n"), "there is more than one document: delete the lines `---`");
        assert_eq!(
            why(&format!("{}{}", "[".repeat(40), "]".repeat(40))),
            "it is nested deeper than 16 levels"
        );
        let many = format!("[{}]", "1, ".repeat(300_000));
        assert_eq!(why(&many), "it has too many values or aliases");
        let quotes = |value: &str| {
            format!("`{value}` must be quoted, because it begins with a bracket: write `\"{value}\"`")
        };
        assert_eq!(why("a: x\nlisten_addr: [::1]:8080\n"), quotes("[::1]:8080"));
        assert_eq!(why("listen_addr: [::]:8080 # all\nb: 1\n"), quotes("[::]:8080"));
    }

    #[test]
    fn an_alias_bomb_is_rejected() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let item = format!("*a{}, ", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", item.trim_end_matches(", ")));
        }
        assert!(Tree::parse(&bomb).is_err());
    }

    #[test]
    fn deep_nesting_is_rejected() {
        for deep in [MAX_DEPTH + 1, 60, 100, 10_000] {
            for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", "")] {
                let text = format!("{}{}", open.repeat(deep), close.repeat(deep));
                assert!(Tree::parse(&text).is_err(), "{deep} times {open}");
            }
        }
    }

    #[test]
    fn set_creates_missing_maps_and_replaces_values() {
        let mut tree = Tree::parse("dns:\n  base_domain: a.b\n").unwrap();
        tree.set("dns.base_domain", Tree::text(Place::Absent, "c.d"));
        tree.set("derp.server.enabled", Tree::text(Place::Env("X".into()), "true"));
        assert_eq!(text_at(&tree, "dns.base_domain").0, "c.d");
        assert_eq!(text_at(&tree, "derp.server.enabled"), ("true".into(), Place::Env("X".into())));
    }
}
