//! Who may give out which tags.

use std::collections::{BTreeMap, BTreeSet};

use headsail_wire::ids::UserId;

use crate::engine::Engine;
use crate::text::document::{At, Document};
use crate::text::selector::{Auto, Selector};

/// Longest tag in bytes, with `tag:`: what is stored and told to every peer has a bound.
const MAX_TAG: usize = 255;

/// Whether a tag is written as it must be, wherever it comes from.
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

/// Tags that own themselves by way of others: what is left when tags that own nothing, and tags that no tag owns, are
/// taken away again and again.
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

/// Takes away what leads to nothing that is left.
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

impl Engine {
    /// Whether the policy defines a tag (given with its `tag:` prefix).
    pub fn tag_exists(&self, tag: &str) -> bool {
        self.policy.document.tag(tag).is_some()
    }

    /// Whether a user may give a node this tag: as its owner, as a member of an owning group, or by owning a tag that
    /// owns it.
    pub fn owns_tag(&self, user: UserId, tag: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut todo = vec![tag.to_string()];
        while let Some(tag) = todo.pop() {
            if !seen.insert(tag.clone()) {
                continue;
            }
            for owner in self.policy.document.tag(&tag).unwrap_or_default() {
                match &owner.value {
                    Selector::Tag(t) => todo.push(t.clone()),
                    other if self.is_user(user, other) => return true,
                    _ => {}
                }
            }
        }
        false
    }

    /// Whether a node or key with some tags may give a node this tag: it has it, or one of its tags owns it.
    pub fn owns_tag_by_tags(&self, tags: &[String], tag: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut todo = vec![tag.to_string()];
        while let Some(t) = todo.pop() {
            if tags.contains(&t) {
                return true;
            }
            if seen.insert(t.clone()) {
                let owners = self.policy.document.tag(&t).unwrap_or_default().iter();
                todo.extend(owners.filter_map(|o| match &o.value {
                    Selector::Tag(t) => Some(t.clone()),
                    _ => None,
                }));
            }
        }
        false
    }

    /// Whether a selector names a user.
    pub(crate) fn is_user(&self, user: UserId, s: &Selector) -> bool {
        let Some(facts) = self.users.get(&user).map(|u| &u.facts) else { return false };
        match s {
            Selector::Any | Selector::Auto(Auto::Member) => true,
            Selector::User(token) | Selector::Host(token) => self.users_named(token).contains(&user),
            Selector::Domain(d) => facts.domain() == Some(d.to_lowercase()),
            Selector::Group(g) => {
                self.policy.document.group(g).unwrap_or_default().iter().any(|m| self.is_user(user, &m.value))
            }
            Selector::Auto(Auto::Role(r)) => facts.role.includes(*r),
            _ => false,
        }
    }
}
