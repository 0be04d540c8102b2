//! Fields of the policy's objects, whatever their spelling.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::text::hujson::{Json, Node};

/// The fields of an object by their canonical names.
#[derive(Default)]
pub(crate) struct Fields<'n>(BTreeMap<&'static str, Cow<'n, Node>>);

impl<'n> Fields<'n> {
    /// A field, if present.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.0.get(name).map(|n| &**n)
    }

    /// Adds a field and returns whether it was present before. Then both are read as one, so that problems in either
    /// are found.
    pub fn put(&mut self, name: &'static str, node: &'n Node) -> bool {
        let Some(known) = self.0.get_mut(name) else {
            self.0.insert(name, Cow::Borrowed(node));
            return false;
        };
        let mergeable = matches!(
            (&known.value, &node.value),
            (Json::Array(_), Json::Array(_)) | (Json::Object(_), Json::Object(_))
        );
        if !mergeable {
            *known = Cow::Borrowed(node);
            return true;
        }
        match (&mut known.to_mut().value, &node.value) {
            (Json::Array(items), Json::Array(more)) => items.extend(more.iter().cloned()),
            (Json::Object(members), Json::Object(more)) => members.extend(more.iter().cloned()),
            _ => {}
        }
        true
    }
}

/// Help for an unknown name: the name that was probably meant, or the list of known ones.
pub(crate) fn nearest(name: &str, known: &[&'static str]) -> String {
    let name = name.to_lowercase();
    let close = |k: &&&str| {
        let k = k.to_lowercase();
        k.starts_with(&name) || name.starts_with(&k) || k.trim_end_matches('s') == name.trim_end_matches('s')
    };
    match known.iter().find(close) {
        Some(k) if !name.is_empty() => format!("did you mean `{k}`?"),
        _ => format!("known are: {}", known.join(", ")),
    }
}
