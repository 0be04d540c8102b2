//! The raw configuration: file and environment merged into one document, with its keys and the shape of its values
//! checked, but not yet what they mean.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::duration;
use super::report::Report;
use super::schema::{self, Fate, Kind, Use};
use super::tree::{Place, Tree, Value};

/// A value and where it is set.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// The document, and the report on it so far. Every accessor takes a path from [`schema::KEYS`].
#[derive(Clone)]
pub(crate) struct Raw {
    root: Tree,
    /// The directory that relative paths are resolved against.
    base: PathBuf,
    pub(crate) report: Report,
}

impl Raw {
    /// Reports unknown and removed keys, values of the wrong shape, and settings without effect.
    pub(crate) fn new(root: Tree, base: PathBuf, report: Report) -> Raw {
        let mut raw = Raw { root, base, report };
        let root = raw.root.clone();
        if !matches!(root.value, Value::Map(_) | Value::Null) {
            raw.report.problem(&root.place, "the configuration must be a map of settings");
        }
        let mut unsupported = Vec::new();
        raw.survey("", &root, &mut unsupported);
        if !unsupported.is_empty() {
            let names = unsupported.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ");
            raw.report.warn(
                &Place::Absent,
                format_args!("these settings are not supported yet and have no effect: {names}"),
            );
        }
        raw
    }

    /// Walks one section; `unsupported` collects the keys that are set but have no effect yet.
    fn survey(&mut self, section: &str, tree: &Tree, unsupported: &mut Vec<&'static str>) {
        let Value::Map(entries) = &tree.value else { return };
        for entry in entries {
            let name = entry.key.to_ascii_lowercase();
            let path = if section.is_empty() { name } else { format!("{section}.{name}") };
            if let Some(key) = schema::find(&path) {
                self.check_shape(key.path, key.kind, &entry.tree);
                if key.usage == Use::Later && !is_inert(&entry.tree) {
                    unsupported.push(key.path);
                }
            } else if let Some(removed) = schema::find_removed(&path) {
                self.report_removed(removed, &entry.place, &entry.tree);
            } else if schema::is_section(&path) {
                match &entry.tree.value {
                    Value::Map(_) => self.survey(&path, &entry.tree, unsupported),
                    Value::Null => {}
                    Value::Text(_) | Value::List(_) => self.report.problem(
                        &entry.place,
                        format_args!("`{path}` is a section: indent its settings below it"),
                    ),
                }
            } else {
                let text = match schema::suggestion(&path) {
                    Some(near) => format!("unknown setting `{path}` has no effect; did you mean `{near}`?"),
                    None => format!("unknown setting `{path}` has no effect"),
                };
                self.report.warn(&entry.place, text);
            }
        }
    }

    fn check_shape(&mut self, path: &str, kind: Kind, tree: &Tree) {
        let fits = match (kind, &tree.value) {
            (_, Value::Null) => true,
            (Kind::Text | Kind::Bool | Kind::Int, value) => matches!(value, Value::Text(_)),
            (Kind::List, Value::Text(_)) => true,
            (Kind::List, Value::List(items)) => items.iter().all(|item| matches!(item.value, Value::Text(_))),
            (Kind::List, Value::Map(_)) => false,
            (Kind::Nested, value) => match value {
                Value::Text(text) => text.is_empty(),
                Value::List(_) | Value::Map(_) | Value::Null => true,
            },
        };
        let wanted = match kind {
            Kind::Text => "a single value",
            Kind::Bool => "`true` or `false`",
            Kind::Int => "an integer",
            Kind::List => "a list",
            Kind::Nested => "a map or a list of maps",
        };
        if !fits {
            self.report.problem(&tree.place, format_args!("`{path}` must be {wanted}"));
        }
    }

    /// Reports a key of earlier versions, and what to do about it.
    fn report_removed(&mut self, removed: &schema::Removed, place: &Place, value: &Tree) {
        let path = removed.path;
        let advice = match removed.successor {
            Some(successor) => format!("use `{successor}` instead"),
            None => removed.advice.to_owned(),
        };
        let moved = removed.successor.filter(|successor| self.root.get(successor).is_some());
        match (removed.fate, moved) {
            (Fate::FatalUnlessMoved, Some(successor)) => self.report.warn(
                place,
                format_args!("`{path}` was removed and is ignored because `{successor}` is set: delete it"),
            ),
            (Fate::Fatal | Fate::FatalUnlessMoved, _) => {
                self.report.problem(place, format_args!("`{path}` was removed: {advice}"));
            }
            (Fate::Honoured, moved) => {
                self.report.warn(place, format_args!("`{path}` is deprecated: {advice}"));
                if let (None, Some(successor)) = (moved, removed.successor) {
                    self.root.set(successor, value.clone());
                }
            }
            (Fate::Ignored, _) => {
                self.report.warn(place, format_args!("`{path}` was removed and has no effect: {advice}"));
            }
        }
    }

    pub(crate) fn tree(&self, path: &str) -> Option<&Tree> {
        debug_assert!(schema::find(path).is_some(), "`{path}` is not declared in the schema");
        self.root.get(path)
    }

    /// Where the key is set.
    pub(crate) fn place(&self, path: &str) -> Place {
        self.tree(path).map_or(Place::Absent, |tree| tree.place.clone())
    }

    /// A scalar that is not empty, trimmed.
    pub(crate) fn text(&self, path: &str) -> Option<At<String>> {
        let tree = self.tree(path)?;
        let Value::Text(text) = &tree.value else { return None };
        let text = text.trim();
        (!text.is_empty()).then(|| At { value: text.to_owned(), place: tree.place.clone() })
    }

    pub(crate) fn bool(&mut self, path: &str, default: bool) -> bool {
        self.maybe_bool(path).unwrap_or(default)
    }

    /// `None` if the key is unset or invalid.
    pub(crate) fn maybe_bool(&mut self, path: &str) -> Option<bool> {
        let at = self.text(path)?;
        match at.value.to_ascii_lowercase().as_str() {
            "true" | "t" | "1" | "yes" | "y" | "on" => Some(true),
            "false" | "f" | "0" | "no" | "n" | "off" => Some(false),
            _ => {
                self.must_be(path, &at, "`true` or `false`");
                None
            }
        }
    }

    /// `default` also if the value is not an integer within `range`, which is a problem.
    pub(crate) fn int(&mut self, path: &str, default: i64, range: std::ops::RangeInclusive<i64>) -> i64 {
        let Some(at) = self.text(path) else { return default };
        match at.value.parse::<i64>() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                self.must_be(path, &at, format_args!("an integer from {} to {}", range.start(), range.end()));
                default
            }
        }
    }

    pub(crate) fn duration(&mut self, path: &str, default: Duration) -> Duration {
        let Some(At { value, place }) = self.text(path) else { return default };
        duration::parse(&value).unwrap_or_else(|why| {
            self.report.problem(&place, format_args!("`{path}`: {why}"));
            default
        })
    }

    /// A list of scalars; a single scalar is split at whitespace and commas.
    pub(crate) fn list(&self, path: &str) -> Vec<At<String>> {
        self.tree(path).map_or_else(Vec::new, strings)
    }

    /// A path; a relative one is resolved against the directory of the configuration file.
    pub(crate) fn path(&self, path: &str) -> Option<PathBuf> {
        self.text(path).map(|text| self.resolve(&text.value))
    }

    /// Resolves a relative path against the directory of the configuration file.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        self.base.join(Path::new(path))
    }

    /// Any type that parses from one scalar, such as an address.
    pub(crate) fn parsed<T: FromStr>(&mut self, path: &str, advice: &str) -> Option<T> {
        let at = self.text(path)?;
        let parsed = at.value.parse().ok();
        if parsed.is_none() {
            self.invalid(path, &at, advice);
        }
        parsed
    }

    /// One of a few named values; `default` also if it is another one, which is a problem.
    pub(crate) fn choice<T: Copy>(&mut self, path: &str, default: T, choices: &[(&str, T)]) -> T {
        let Some(at) = self.text(path) else { return default };
        if let Some((_, chosen)) = choices.iter().find(|(name, _)| *name == at.value) {
            return *chosen;
        }
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
        self.must_be(path, &at, names.join(" or "));
        default
    }

    /// Reports a problem at a key, wherever that is set.
    pub(crate) fn problem(&mut self, path: &str, text: impl Display) {
        let place = self.place(path);
        self.report.problem(&place, text);
    }

    /// Reports a warning at a key, wherever that is set.
    pub(crate) fn warn(&mut self, path: &str, text: impl Display) {
        let place = self.place(path);
        self.report.warn(&place, text);
    }

    /// Reports a required key that is not set; `advice` says what to do.
    pub(crate) fn missing(&mut self, path: &str, advice: impl Display) {
        self.report.problem(&Place::Absent, format_args!("`{path}` is missing: {advice}"));
    }

    /// Reports a value that its key cannot have; `why` may say what to write instead.
    pub(crate) fn invalid(&mut self, path: &str, at: &At<String>, why: impl Display) {
        self.report.problem(&at.place, format_args!("`{}` is not a valid `{path}`: {why}", at.value));
    }

    /// Reports a value that is none of those that its key can have.
    pub(crate) fn must_be(&mut self, path: &str, at: &At<String>, wanted: impl Display) {
        self.report.problem(&at.place, format_args!("`{path}` must be {wanted}, not `{}`", at.value));
    }
}

/// The scalars of a list, or of a single scalar split at whitespace and commas.
pub(crate) fn strings(tree: &Tree) -> Vec<At<String>> {
    let at = |text: &str, place: &Place| At { value: text.trim().to_owned(), place: place.clone() };
    let found: Vec<At<String>> = match &tree.value {
        Value::Text(text) => {
            text.split(|c: char| c.is_whitespace() || c == ',').map(|item| at(item, &tree.place)).collect()
        }
        Value::List(items) => items
            .iter()
            .filter_map(|item| match &item.value {
                Value::Text(text) => Some(at(text, &item.place)),
                _ => None,
            })
            .collect(),
        Value::Null | Value::Map(_) => Vec::new(),
    };
    found.into_iter().filter(|item| !item.value.is_empty()).collect()
}

/// Whether a value asks for nothing: empty, zero or off.
fn is_inert(tree: &Tree) -> bool {
    match &tree.value {
        Value::Null => true,
        Value::Text(text) => {
            matches!(text.trim().to_ascii_lowercase().as_str(), "" | "false" | "no" | "off" | "0")
        }
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
    }
}
