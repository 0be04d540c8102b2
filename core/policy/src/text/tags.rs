//! The spelling of tags, and cycles of tags that own each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::text::document::{At, Document};
use crate::text::selector::Selector;

/// The longest tag in bytes, with `tag:`. It is stored and sent to every peer, so it has a bound.
const MAX_TAG: usize = 255;

/// Checks the spelling of a tag, wherever it comes from.
///
/// # Errors
/// What is wrong, in the words of the client's `CheckTag` (`tailcfg/tailcfg.go`).
pub fn check_tag(tag: &str) -> Result<(), &'static str> {
    let name = tag.strip_prefix("tag:").ok_or("tags must start with 'tag:'")?;
    match name.as_bytes().first() {
        None => Err("tag names must not be empty"),
        Some(b) if !b.is_ascii_alphabetic() => Err("tag names must start with a letter, after 'tag:'"),
        _ if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') => {
            Err("tag names can only contain numbers, letters, or dashes")
        }
        _ if tag.len() > MAX_TAG => Err("tags must have at most 255 characters"),
        _ => Ok(()),
    }
}

/// Tags that own themselves through others: what is left after repeatedly removing tags that own nothing, and tags that
/// no tag owns.
pub(crate) fn cycles(doc: &Document) -> Vec<At<String>> {
    let mut owners: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut owned: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for tag in &doc.tag_owners {
        for owner in &tag.value {
            if let Selector::Tag(o) = &owner.value {
                owners.entry(&tag.name.value).or_default().insert(o);
                owned.entry(o).or_default().insert(&tag.name.value);
            }
        }
    }
    trim(&mut owners, &owned);
    owned.retain(|o, _| owners.contains_key(o));
    owned.values_mut().for_each(|tags| tags.retain(|t| owners.contains_key(t)));
    trim(&mut owned, &owners);
    doc.tag_owners
        .iter()
        .filter(|t| owned.contains_key(t.name.value.as_str()))
        .map(|t| t.name.clone())
        .collect()
}

/// Removes, again and again, what leads to nothing that is left.
fn trim<'t>(ahead: &mut BTreeMap<&'t str, BTreeSet<&'t str>>, back: &BTreeMap<&'t str, BTreeSet<&'t str>>) {
    let known: BTreeSet<&str> = ahead.keys().copied().collect();
    ahead.values_mut().for_each(|next| next.retain(|n| known.contains(n)));
    let mut done: Vec<&str> = ahead.iter().filter(|(_, next)| next.is_empty()).map(|(t, _)| *t).collect();
    while let Some(tag) = done.pop() {
        ahead.remove(tag);
        for before in back.get(tag).into_iter().flatten() {
            if let Some(next) = ahead.get_mut(before)
                && next.remove(tag)
                && next.is_empty()
            {
                done.push(before);
            }
        }
    }
}
