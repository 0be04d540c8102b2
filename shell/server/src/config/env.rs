//! Environment variables that override settings: `HEADSCALE_A_B` and `HEADSAIL_A_B` for `a.b`.

use std::collections::BTreeMap;

use super::report::Report;
use super::schema::{self, Fate, Kind};
use super::tree::{Place, Tree, Value};

/// Environment variables by name.
pub type Env = BTreeMap<String, String>;

/// The prefixes of our variables; if both are set, the later one wins.
const PREFIXES: [&str; 2] = ["HEADSCALE_", "HEADSAIL_"];

/// The environment of this process, without variables that are not valid Unicode.
pub fn process_env() -> Env {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Overrides values in `root` with environment variables. Empty variables count as unset, as in Headscale.
pub(crate) fn overlay(root: &mut Tree, env: &Env, report: &mut Report) {
    let variable = |prefix: &str, path: &str| {
        let name = format!("{prefix}{}", schema::env_name(path));
        let value = env.get(&name).filter(|value| !value.trim().is_empty())?;
        Some((Place::Env(name), value))
    };
    for prefix in PREFIXES {
        for key in schema::KEYS {
            if let Some((place, value)) = variable(prefix, key.path) {
                let tree = read(key.kind, value, place, report);
                root.set(key.path, tree);
            }
        }
        for removed in schema::REMOVED {
            // Ignored keys are not reported here: container images set such variables although they have no effect.
            if removed.fate != Fate::Ignored
                && let Some((place, value)) = variable(prefix, removed.path)
            {
                root.set(removed.path, Tree::text(place, value));
            }
        }
    }
    warn_of_misspelled(env, report);
}

/// Parses a variable into the shape that its key needs.
fn read(kind: Kind, value: &str, place: Place, report: &mut Report) -> Tree {
    let value = value.trim();
    let document = match kind {
        Kind::Text | Kind::Bool | Kind::Int => return Tree::text(place, value),
        Kind::List => value.starts_with('['),
        Kind::Nested => true,
    };
    if !document {
        let items = value.split(|c: char| c.is_whitespace() || c == ',').filter(|item| !item.is_empty());
        let items = items.map(|item| Tree::text(place.clone(), item)).collect();
        return Tree { place, value: Value::List(items) };
    }
    match Tree::parse(value) {
        Ok(mut tree) => {
            tree.relocate(&place);
            tree
        }
        Err(error) => {
            report.problem(&place, format_args!("`{value}` is not valid JSON: {}", error.why));
            Tree { place, value: Value::Null }
        }
    }
}

/// Warns about variables that are almost spelled like one of ours. Others with our prefixes are ignored: container
/// runtimes set variables such as `HEADSCALE_PORT_8080_TCP` for a service called headscale.
fn warn_of_misspelled(env: &Env, report: &mut Report) {
    for name in env.keys() {
        let Some(tail) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) else { continue };
        if schema::KEYS.iter().any(|key| key.env_name() == tail)
            || schema::REMOVED.iter().any(|removed| schema::env_name(removed.path) == tail)
        {
            continue;
        }
        let near = schema::KEYS
            .iter()
            .map(|key| key.env_name())
            .find(|known| known.len() > 5 && (1..=2).contains(&strsim::damerau_levenshtein(known, tail)));
        if let Some(near) = near {
            let prefix = name.strip_suffix(tail).unwrap_or_default();
            report.warn(
                &Place::Env(name.clone()),
                format_args!("unknown variable, which has no effect; did you mean `{prefix}{near}`?"),
            );
        }
    }
}
