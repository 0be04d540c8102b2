//! The raw configuration: one document from file and environment, of known keys and right shapes, not yet understood.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::duration;
use super::report::Report;
use super::schema::{self, Fate, Kind, Use};
use super::tree::{Place, Tree, Value};

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// The document with what was found out about it so far. Every accessor takes a path of [`schema::KEYS`].
#[derive(Clone)]
pub(crate) struct Raw {
    root: Tree,
    /// Relative paths of the document start here.
    base: PathBuf,
    pub(crate) report: Report,
}

impl Raw {
    /// Takes a document over: names its unknown and removed keys, its misshapen values and those without effect.
    pub(crate) fn new(root: Tree, base: PathBuf, report: Report) -> Raw {
        let mut raw = Raw { root, base, report };
        let root = raw.root.clone();
        if !matches!(root.value, Value::Map(_) | Value::Null) {
            raw.report.problem(&root.place, "the configuration must be a map of settings");
        }
        let mut idle = Vec::new();
        raw.survey("", &root, &mut idle);
        if !idle.is_empty() {
            let names = idle.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ");
            raw.report.warn(&Place::Absent, format_args!("not yet supported and without effect: {names}"));
        }
        raw
    }

    /// Walks one section; `idle` receives the keys that are set but not acted upon.
    fn survey(&mut self, section: &str, tree: &Tree, idle: &mut Vec<&'static str>) {
        let Value::Map(entries) = &tree.value else { return };
        for entry in entries {
            let name = entry.key.to_ascii_lowercase();
            let path = if section.is_empty() { name } else { format!("{section}.{name}") };
            if let Some(key) = schema::find(&path) {
                self.check_shape(key.path, key.kind, &entry.tree);
                if key.usage == Use::Later && !is_inert(&entry.tree) {
                    idle.push(key.path);
                }
            } else if let Some(gone) = schema::find_removed(&path) {
                self.bury(gone, &entry.place, &entry.tree);
            } else if schema::is_section(&path) {
                match &entry.tree.value {
                    Value::Map(_) => self.survey(&path, &entry.tree, idle),
                    Value::Null => {}
                    Value::Text(_) | Value::List(_) => self.report.problem(
                        &entry.place,
                        format_args!("`{path}` is a section: write its settings below it, indented"),
                    ),
                }
            } else {
                let hint = schema::suggestion(&path)
                    .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                self.report.warn(
                    &entry.place,
                    format_args!("the setting `{path}` is unknown and has no effect{hint}"),
                );
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
            Kind::Text => "one value",
            Kind::Bool => "`true` or `false`",
            Kind::Int => "a whole number",
            Kind::List => "a list",
            Kind::Nested => "a map or a list of maps",
        };
        if !fits {
            self.report.problem(&tree.place, format_args!("`{path}` must be {wanted}"));
        }
    }

    /// Says what to do about a key of former versions.
    fn bury(&mut self, gone: &schema::Removed, place: &Place, value: &Tree) {
        let path = gone.path;
        let advice = match gone.successor {
            Some(successor) => format!("use `{successor}`"),
            None => gone.advice.to_owned(),
        };
        let moved = gone.successor.filter(|successor| self.root.get(successor).is_some());
        match (gone.fate, moved) {
            (Fate::FatalUnlessMoved, Some(successor)) => self.report.warn(
                place,
                format_args!("`{path}` was removed and has no effect next to `{successor}`: delete it"),
            ),
            (Fate::Fatal | Fate::FatalUnlessMoved, _) => {
                self.report.problem(place, format_args!("`{path}` was removed: {advice}"));
            }
            (Fate::Honoured, moved) => {
                self.report.warn(place, format_args!("`{path}` is an older name: {advice}"));
                if let (None, Some(successor)) = (moved, gone.successor) {
                    self.root.set(successor, value.clone());
                }
            }
            (Fate::Ignored, _) => {
                self.report.warn(place, format_args!("`{path}` was removed and has no effect: {advice}"));
            }
        }
    }

    /// The value as it was written.
    pub(crate) fn tree(&self, path: &str) -> Option<&Tree> {
        debug_assert!(schema::find(path).is_some(), "`{path}` is not declared in the schema");
        self.root.get(path)
    }

    /// Where the key was set.
    pub(crate) fn place(&self, path: &str) -> Place {
        self.tree(path).map_or(Place::Absent, |tree| tree.place.clone())
    }

    /// A scalar that is not empty, without surrounding blanks.
    pub(crate) fn text(&self, path: &str) -> Option<At<String>> {
        let tree = self.tree(path)?;
        let Value::Text(text) = &tree.value else { return None };
        let text = text.trim();
        (!text.is_empty()).then(|| At { value: text.to_owned(), place: tree.place.clone() })
    }

    /// A boolean, or `default`.
    pub(crate) fn bool(&mut self, path: &str, default: bool) -> bool {
        self.maybe_bool(path).unwrap_or(default)
    }

    /// A boolean where one is set.
    pub(crate) fn maybe_bool(&mut self, path: &str) -> Option<bool> {
        let At { value, place } = self.text(path)?;
        match value.to_ascii_lowercase().as_str() {
            "true" | "t" | "1" | "yes" | "y" | "on" => Some(true),
            "false" | "f" | "0" | "no" | "n" | "off" => Some(false),
            _ => {
                self.report
                    .problem(&place, format_args!("`{path}` must be `true` or `false`, not `{value}`"));
                None
            }
        }
    }

    /// A whole number within `range`, or `default`.
    pub(crate) fn int(&mut self, path: &str, default: i64, range: std::ops::RangeInclusive<i64>) -> i64 {
        let Some(At { value, place }) = self.text(path) else { return default };
        match value.parse::<i64>() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                self.report.problem(
                    &place,
                    format_args!(
                        "`{path}` must be a whole number from {} to {}, not `{value}`",
                        range.start(),
                        range.end()
                    ),
                );
                default
            }
        }
    }

    /// A duration, or `default`.
    pub(crate) fn duration(&mut self, path: &str, default: Duration) -> Duration {
        let Some(At { value, place }) = self.text(path) else { return default };
        duration::parse(&value).unwrap_or_else(|why| {
            self.report.problem(&place, format_args!("`{path}`: {why}"));
            default
        })
    }

    /// A list of scalars; one scalar alone is split at blanks and commas.
    pub(crate) fn list(&self, path: &str) -> Vec<At<String>> {
        self.tree(path).map_or_else(Vec::new, strings)
    }

    /// A file's path, relative ones counted from the directory of the configuration.
    pub(crate) fn path(&self, path: &str) -> Option<PathBuf> {
        self.text(path).map(|text| self.resolve(&text.value))
    }

    /// Counts a relative path from the directory of the configuration.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        self.base.join(Path::new(path))
    }
}

/// The scalars of a list, or of one text split at blanks and commas.
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

/// Whether a setting asks for nothing.
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
