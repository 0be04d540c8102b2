//! The users of an engine, and the names under which a policy refers to them.
//!
//! A change to one user costs what it touches: the tokens of the policy that may refer to this user, and the users to
//! whom the same tokens refer before or after.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headsail_wire::ids::UserId;

use crate::engine::facts::{UserFacts, folded, user_rank};
use crate::engine::program::{Program, SelId};
use crate::engine::{Engine, UserRow};

impl Engine {
    /// Replaces all users. Nodes change class if different selectors match their owners.
    pub fn set_users(&mut self, users: impl IntoIterator<Item = UserFacts>) {
        let users: BTreeMap<UserId, UserFacts> = users.into_iter().map(|u| (u.id, u)).collect();
        let gone = self.users.iter().map(|(id, _)| *id).filter(|id| !users.contains_key(id));
        for id in gone.collect::<Vec<_>>() {
            self.remove_user(id);
        }
        for user in users.into_values() {
            self.upsert_user(user);
        }
    }

    /// Adds a user, or replaces its facts.
    pub fn upsert_user(&mut self, user: UserFacts) {
        if self.users.get(&user.id).is_none_or(|row| row.facts != user) {
            self.change_user(user.id, Some(user));
        }
    }

    /// Removes a user. Nodes that still have it as their owner match no selector for people.
    pub fn remove_user(&mut self, id: UserId) {
        if self.users.get(&id).is_some() {
            self.change_user(id, None);
        }
    }

    /// Every user to whom a token of a policy refers. If several match equally well, such as two users of one name, all
    /// are returned.
    pub(crate) fn users_named(&self, token: &str) -> Vec<UserId> {
        let candidates = self.by_name.get(folded(token).as_str()).into_iter().flat_map(|ids| ids.iter());
        let rank = |id: &UserId| Some((user_rank(token, &self.users.get(id)?.facts)?, *id));
        let ranked: Vec<(u8, UserId)> = candidates.filter_map(rank).collect();
        let best = ranked.iter().map(|r| r.0).min();
        ranked.into_iter().filter(|r| Some(r.0) == best).map(|r| r.1).collect()
    }

    /// Matches some users against the selectors again. Nodes change class if the selectors of their owner changed, or
    /// if the owner is deleted.
    pub(crate) fn rematch_users(&mut self, ids: impl IntoIterator<Item = UserId>) {
        let mut changed = Vec::new();
        for id in ids {
            let Some(row) = self.users.get(&id).cloned() else {
                changed.push(id);
                continue;
            };
            let sels = self.selectors_of(&row.facts);
            if *row.sels != *sels {
                self.users.insert(id, Arc::new(UserRow { facts: row.facts.clone(), sels }));
                changed.push(id);
            }
        }
        changed.into_iter().for_each(|id| self.reclassify_nodes_of(id));
    }

    fn change_user(&mut self, id: UserId, now: Option<UserFacts>) {
        let was = self.users.get(&id).cloned();
        let words: BTreeSet<String> =
            was.iter().map(|row| &row.facts).chain(&now).flat_map(names_of).collect();
        let program = self.program.clone();
        let before = self.matches_of(&program, &words);
        for word in was.iter().flat_map(|row| names_of(&row.facts)) {
            self.change_name(word, |ids| ids.retain(|other| *other != id));
        }
        match now {
            Some(facts) => {
                for word in names_of(&facts) {
                    self.change_name(word, |ids| ids.insert(ids.partition_point(|other| *other < id), id));
                }
                let sels = was.map(|row| row.sels.clone()).unwrap_or_default();
                self.users.insert(id, Arc::new(UserRow { facts, sels }));
            }
            None => {
                self.users.remove(&id);
            }
        }
        let after = self.matches_of(&program, &words);
        let others = before.symmetric_difference(&after).map(|(_, id)| *id);
        self.rematch_users(others.chain([id]).collect::<BTreeSet<_>>());
    }

    /// For every token that may refer to somebody with one of these names, the users it refers to.
    fn matches_of<'a>(&self, program: &'a Program, words: &BTreeSet<String>) -> BTreeSet<(&'a str, UserId)> {
        let tokens = words.iter().filter_map(|w| program.by_token.get(w)).flat_map(BTreeMap::keys);
        tokens.flat_map(|t| self.users_named(t).into_iter().map(|id| (t.as_str(), id))).collect()
    }

    fn change_name(&mut self, word: String, change: impl FnOnce(&mut Vec<UserId>)) {
        let mut ids = self.by_name.remove(&word).unwrap_or_default();
        change(Arc::make_mut(&mut ids));
        if !ids.is_empty() {
            self.by_name.insert(word, ids);
        }
    }

    fn selectors_of(&self, user: &UserFacts) -> Arc<[SelId]> {
        let p = &self.program;
        let mut sels: BTreeSet<SelId> = p.member.into_iter().collect();
        for (token, of_token) in names_of(user).iter().filter_map(|w| p.by_token.get(w)).flatten() {
            if self.users_named(token).contains(&user.id) {
                sels.extend(of_token);
            }
        }
        sels.extend(user.domain().and_then(|d| p.by_domain.get(&d)).into_iter().flatten());
        sels.extend(p.by_role.iter().filter(|(role, _)| user.role.includes(*role)).map(|(_, s)| *s));
        sels.into_iter().collect()
    }

    fn reclassify_nodes_of(&mut self, owner: UserId) {
        let nodes = self.owners.get(&owner).map(|o| o.nodes.clone()).unwrap_or_default();
        for facts in nodes.iter().filter_map(|n| self.node(*n).cloned()).collect::<Vec<_>>() {
            self.upsert_node(facts);
        }
    }
}

/// The folded names of a user: a token that refers to the user folds to one of them.
fn names_of(user: &UserFacts) -> BTreeSet<String> {
    let words = [folded(&user.provider_id), folded(&user.email), user.name.to_ascii_lowercase()];
    words.into_iter().filter(|word| !word.is_empty()).collect()
}
