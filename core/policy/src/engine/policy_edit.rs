//! Applies an edited policy to the same tailnet, at the cost of what the edit touches.

use std::collections::BTreeSet;
use std::sync::Arc;

use headsail_wire::ids::NodeId;

use crate::engine::Engine;
use crate::engine::cow::Bits;
use crate::engine::edits::{common_ends, differing};
use crate::engine::facts::{NodeFacts, UserFacts};
use crate::engine::fingerprint::Fingerprint;
use crate::engine::policy::Policy;
use crate::engine::program::Program;

impl Engine {
    /// The same tailnet under another policy. What the two policies have in common is not worked out again.
    pub fn with_policy(&self, policy: Arc<Policy>) -> Engine {
        let program = Program::after(&self.program, &policy.document);
        let bloated = program.sels.len() > 2 * policy.program.sels.len() + 256
            || program.lists.len() > 2 * policy.program.lists.len() + 256;
        let signed_by = |p: &Program| (p.uses_self, p.uses_address_grants);
        if bloated || signed_by(&program) != signed_by(&self.program) {
            let users: Vec<UserFacts> = self.users().cloned().collect();
            return Engine::new(policy, users, self.nodes().cloned().collect::<Vec<NodeFacts>>());
        }
        let mut next = self.clone();
        next.policy = policy;
        next.program = Arc::new(program);
        next.add_lists(self.program.lists.len());
        next.relink_sections(self);
        next.rematch_users(self.users.iter().map(|(id, _)| *id));
        for node in next.matched_by_new_selectors(self.program.sels.len()) {
            if let Some(facts) = next.node(node).cloned() {
                next.upsert_node(facts);
            }
        }
        next
    }

    /// Matches every class against the lists from number `from` on, which are new.
    fn add_lists(&mut self, from: usize) {
        let program = self.program.clone();
        for (id, list) in program.lists.iter().enumerate().skip(from) {
            let mut bits = Bits::default();
            let mut addresses = Fingerprint::EMPTY;
            for c in 0..self.classes.len() {
                let Some(class) = self.classes.get(c).cloned() else { continue };
                if list.identities.iter().any(|s| class.signature.has(*s)) {
                    addresses += class.addresses;
                    self.add_list_of_class(c, id);
                }
                if list.all() || list.sels().any(|s| class.signature.has(s)) {
                    bits.set(c);
                }
            }
            self.list_classes.push(Arc::new(bits));
            self.list_fingerprints.push(addresses);
        }
    }

    /// Works out anew what the classes see that edited sections concern.
    fn relink_sections(&mut self, old: &Engine) {
        let program = self.program.clone();
        self.class_overrides = Default::default();
        for (i, section) in program.sections.iter().enumerate().filter(|(_, s)| s.overrides_classes()) {
            let mut bits = Bits::default();
            for (c, class) in self.classes.iter().enumerate() {
                if crate::engine::route_table::override_matches(&program, section, &class.signature) {
                    bits.set(c);
                }
            }
            self.class_overrides.insert(i, Arc::new(bits));
        }
        let ends = common_ends(&old.program.sections, &program.sections);
        let mut affected = Bits::default();
        for (engine, sections) in [(old, &old.program.sections), (&*self, &program.sections)] {
            for i in differing(sections, ends, |_| false) {
                let Some(s) = sections.get(i) else { continue };
                let both = [engine.list_classes.get(s.src), engine.target_classes(i, s)];
                both.into_iter().flatten().for_each(|b| affected.add(b));
            }
        }
        if ends.0 + ends.1 < program.sections.len().max(old.program.sections.len()) {
            self.rebuild_route_rows();
        }
        for c in affected.iter().filter(|c| *c < self.classes.len()).collect::<Vec<_>>() {
            let sees = self.seen_by(c);
            if let Some(row) = self.classes.get_mut(c)
                && *row.sees != sees
            {
                Arc::make_mut(row).sees = Arc::new(sees);
            }
        }
    }

    /// Nodes that match a selector from number `from` on, which are new. Users are matched in `rematch_users`.
    fn matched_by_new_selectors(&self, from: usize) -> BTreeSet<NodeId> {
        let new = from as u32..self.program.sels.len() as u32;
        if new.is_empty() {
            return BTreeSet::new();
        }
        let matched = |f: &&NodeFacts| self.signature(f).sels.iter().any(|s| new.contains(s));
        self.nodes().filter(matched).map(|f| f.id).collect()
    }
}
