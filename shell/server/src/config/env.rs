//! Environment variables that override keys of the configuration: `HEADSCALE_A_B` and `HEADSAIL_A_B` for `a.b`.

use std::collections::BTreeMap;

use super::report::Report;
use super::schema::{self, Fate, Kind};
use super::tree::{Place, Tree, Value};

/// The environment: names and values.
pub type Env = BTreeMap<String, String>;

/// The prefixes of our variables; the later one wins.
const PREFIXES: [&str; 2] = ["HEADSCALE_", "HEADSAIL_"];

/// The environment of this process. Variables that are not Unicode are left out.
pub fn process_env() -> Env {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Lays the variables over `root`. Empty variables count as unset, as in Headscale.
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
        for gone in schema::REMOVED {
            // What was always ignored is also ignored here: images set such variables to no effect.
            if gone.fate != Fate::Ignored
                && let Some((place, value)) = variable(prefix, gone.path)
            {
                root.set(gone.path, Tree::text(place, value));
            }
        }
    }
    hint_at_misspelt(env, report);
}

/// A value of the environment in the shape of its key.
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
            report.problem(&place, format_args!("`{value}` is not JSON: {}", error.why));
            Tree { place, value: Value::Null }
        }
    }
}

/// Warns about variables that are one slip away from one of ours. Others under our prefixes are left alone: container
/// runtimes invent names such as `HEADSCALE_PORT_8080_TCP` for a service called headscale.
fn hint_at_misspelt(env: &Env, report: &mut Report) {
    for name in env.keys() {
        let Some(tail) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) else { continue };
        if schema::KEYS.iter().any(|key| key.env_name() == tail)
            || schema::REMOVED.iter().any(|gone| schema::env_name(gone.path) == tail)
        {
            continue;
        }
        let near = schema::KEYS
            .iter()
            .map(|key| key.env_name())
            .find(|known| known.len() > 5 && (1..=2).contains(&strsim::damerau_levenshtein(known, tail)));
        if let Some(near) = near {
            let prefix = &name[..name.len() - tail.len()];
            report.warn(
                &Place::Env(name.clone()),
                format_args!("the variable is unknown and has no effect; did you mean `{prefix}{near}`?"),
            );
        }
    }
}
