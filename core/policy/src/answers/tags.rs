//! Who may assign which tags.

use std::collections::BTreeSet;

use headsail_wire::ids::UserId;

use crate::engine::Engine;
use crate::text::selector::{Auto, Selector};

impl Engine {
    /// Whether the policy defines a tag (given with its `tag:` prefix).
    pub fn tag_exists(&self, tag: &str) -> bool {
        self.policy.document.tag(tag).is_some()
    }

    /// Whether a user may assign this tag: as its owner, as a member of a group that owns it, or by owning a tag that
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
