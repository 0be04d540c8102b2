//! What differs for a node between two values of an engine, found without rendering anything where nothing changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use headsail_wire::ids::NodeId;

use crate::answers::filter::Sources;
use crate::engine::cow::Bits;
use crate::engine::edits::{common, differing};
use crate::engine::program::{Body, List, ListId, Section, SshSection};
use crate::engine::{Engine, NodeRow};
use crate::text::document::SshRule;

/// Which of the things that a node is told by the policy changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Touch {
    /// The set of nodes that it sees.
    pub visible: bool,
    /// Its packet filter, or the names of its parts.
    pub filter: bool,
    /// Its SSH policy.
    pub ssh: bool,
    /// Its own capabilities.
    pub caps: bool,
    /// Which routes of its peers it is given, as far as rules decide; a route's servers and elections are not looked at.
    pub routes: bool,
}

impl Touch {
    /// Whether anything changed.
    pub fn any(self) -> bool {
        self != Touch::default()
    }
}

/// Two values of an engine, compared once for all nodes. It keeps (cheap) copies of both, so that it can be shared by all
/// who move from the one to the other.
pub struct Comparison {
    before: Engine,
    after: Engine,
    /// Whether selectors, lists and classes have the same numbers in both.
    related: bool,
    /// Sections that were edited, by index before and after.
    sections: (Vec<usize>, Vec<usize>),
    /// Classes on which a section that is the same in both puts sources that changed.
    moved: Bits,
    /// Classes that edited sections concern.
    edited_at: Bits,
    /// Sections, by index after, whose sources are the nodes of the same owner.
    own: Vec<usize>,
    /// Whether SSH rules depend on whose the nodes are.
    ssh_own: bool,
    /// SSH rules that were edited or whose sources changed, by index before and after.
    ssh: (Vec<usize>, Vec<usize>),
    /// Classes whose members changed, and by how much the sum over their ids differs.
    members: Vec<(usize, u128)>,
    /// Whether anything is known otherwise of any node or user.
    facts_moved: bool,
    edited: Edited,
}

/// What of the program was edited.
#[derive(Default)]
struct Edited {
    attrs: bool,
    sections: bool,
}

impl Comparison {
    /// Compares two values. Cheap when one came from the other by updates.
    pub fn new(before: &Engine, after: &Engine) -> Comparison {
        let mut c = Comparison::unlooked(before, after);
        if !c.related {
            return c;
        }
        let (old, new) = (&before.program, &after.program);
        let same = Arc::ptr_eq(old, new);
        c.edited.attrs = !same && (old.attrs != new.attrs || old.switches != new.switches);
        let lists = c.moved_lists();
        let moved = |l: ListId| lists.contains(&l) || l >= old.lists.len();
        let ends = if same { (old.sections.len(), 0) } else { common(&old.sections, &new.sections) };
        c.edited.sections = ends.0 + ends.1 < old.sections.len().max(new.sections.len());
        c.sections = (differing(&old.sections, ends, |_| false), differing(&new.sections, ends, |_| false));
        let edited: BTreeSet<usize> = c.sections.1.iter().copied().collect();
        for (i, s) in new.sections.iter().enumerate().filter(|(_, s)| has_moved(s, moved)) {
            if !edited.contains(&i) {
                after.add_concerned(i, s, &mut c.moved);
            }
        }
        for (engine, sections) in [(before, &c.sections.0), (after, &c.sections.1)] {
            for i in sections {
                let section = engine.program.sections.get(*i);
                section.into_iter().for_each(|s| engine.add_concerned(*i, s, &mut c.edited_at));
            }
        }
        let rules = |e: &Engine| -> Vec<_> {
            let rule = |s: &SshSection| Some((s.clone(), e.policy.document.ssh.get(s.rule)?.clone()));
            e.program.ssh.iter().filter_map(rule).collect()
        };
        let (old_ssh, new_ssh) = (rules(before), rules(after));
        let ends = if same { (old_ssh.len(), 0) } else { common(&old_ssh, &new_ssh) };
        let facts_moved = c.facts_moved;
        let ssh = |(s, _): &(SshSection, SshRule)| moved(s.src) || (s.apart && facts_moved);
        c.ssh = (differing(&old_ssh, ends, ssh), differing(&new_ssh, ends, ssh));
        c
    }

    /// Compares two values under one policy, as far as one class is concerned: little work for one node.
    fn for_class(before: &Engine, after: &Engine, class: usize) -> Comparison {
        let mut c = Comparison::unlooked(before, after);
        let program = &after.program;
        let moved = |l: ListId| c.list_moved(l);
        let sections = program.sections.iter().enumerate();
        let concerned = sections.into_iter().any(|(i, s)| has_moved(s, moved) && after.concerns(i, s, class));
        let ssh = program.ssh.iter().enumerate().filter(|(_, s)| after.ssh_concerns(s, class));
        c.ssh.1 = ssh.filter(|(_, s)| (s.apart && c.facts_moved) || moved(s.src)).map(|(i, _)| i).collect();
        if concerned {
            c.moved.set(class);
        }
        c
    }

    /// A comparison that has looked at the members of classes only.
    fn unlooked(before: &Engine, after: &Engine) -> Comparison {
        let (old, new) = (&before.program, &after.program);
        let lineage = || new.sels.starts_with(&old.sels) && new.lists.starts_with(&old.lists);
        let ids = |e: &Engine, i: usize| e.classes.get(i).map_or(0, |class| class.ids);
        let unshared = after.classes.unshared(&before.classes);
        let deltas = unshared.map(|i| (i, ids(after, i).wrapping_sub(ids(before, i))));
        let own = new.sections.iter().enumerate().filter(|(_, s)| new.own && s.own);
        Comparison {
            before: before.clone(),
            after: after.clone(),
            related: before.is_related(after) && (Arc::ptr_eq(old, new) || lineage()),
            facts_moved: !before.nodes.is_same(&after.nodes) || !before.users.is_same(&after.users),
            sections: Default::default(),
            moved: Bits::default(),
            edited_at: Bits::default(),
            own: own.map(|(i, _)| i).collect(),
            ssh_own: [old, new].iter().any(|p| p.ssh.iter().any(|s| s.own || s.apart)),
            ssh: Default::default(),
            members: deltas.filter(|(_, delta)| *delta != 0).collect(),
            edited: Edited::default(),
        }
    }

    fn list_moved(&self, list: ListId) -> bool {
        self.before.print_of(Sources::List(list)) != self.after.print_of(Sources::List(list))
    }

    /// Lists whose sources are not the same in both.
    fn moved_lists(&self) -> BTreeSet<ListId> {
        let (before, after) = (&self.before, &self.after);
        let routed = before.routes_sum != after.routes_sum;
        let mixed = |l: &List| !l.nets.is_empty() && !l.who.is_empty() && self.facts_moved;
        let lists = before.program.lists.iter().enumerate();
        let special = lists.filter(|(_, l)| (l.any && routed) || mixed(l)).map(|(i, _)| i);
        special.chain(after.sums.unshared(&before.sums)).filter(|l| self.list_moved(*l)).collect()
    }

    /// What changed for a node that is in both; everything for one that is not.
    pub fn touch(&self, node: NodeId) -> Touch {
        let (Some(a), Some(b)) = (self.before.nodes.get(&node), self.after.nodes.get(&node)) else {
            return Touch { visible: true, filter: true, ssh: true, caps: true, routes: true };
        };
        let same = self.related && a.class == b.class && (Arc::ptr_eq(a, b) || a.facts == b.facts);
        let class = a.class as usize;
        // What rules within a user's nodes say moves with the nodes; no other rule asks whose they are.
        let asked = self.ssh_own || !self.own.is_empty();
        let same_owner = !same || !asked || self.same_owner(a);
        let filter_differs = || self.before.filter_print(node) != self.after.filter_print(node);
        Touch {
            visible: self.visible_changed(a, b, same),
            // Without a policy sources are written as `*`, which is more than the same rule says in one.
            filter: match same && self.before.policy.is_none() == self.after.policy.is_none() {
                true => {
                    self.moved.has(class)
                        || (!same_owner && self.own.iter().any(|i| self.own_concerns(*i, class)))
                        || (self.edited_at.has(class) && filter_differs())
                }
                false => filter_differs(),
            },
            ssh: (!same || (self.ssh_own && !same_owner) || self.ssh_hit(class))
                && self.before.ssh_print(node) != self.after.ssh_print(node),
            caps: (!same || self.edited.attrs) && self.before.caps_print(node) != self.after.caps_print(node),
            routes: !self.related || a.class != b.class || (self.edited.sections && self.reach_edited(class)),
        }
    }

    /// The nodes, of both sides, for which anything changed.
    pub fn touched(&self) -> impl Iterator<Item = (NodeId, Touch)> {
        let gone = self.before.nodes().map(|n| n.id).filter(|id| self.after.node(*id).is_none());
        let all = self.after.nodes().map(|n| n.id).chain(gone);
        all.map(|id| (id, self.touch(id))).filter(|(_, t)| t.any())
    }

    fn own_concerns(&self, section: usize, class: usize) -> bool {
        let section = self.after.program.sections.get(section);
        section.is_some_and(|s| self.after.in_list(s.src, class))
    }

    /// Whether the nodes of the owner are the same, for rules within a user's nodes.
    fn same_owner(&self, a: &NodeRow) -> bool {
        let Some(owner) = a.facts.user() else { return true };
        match (self.before.owners.get(&owner), self.after.owners.get(&owner)) {
            (Some(x), Some(y)) => Arc::ptr_eq(x, y) || x.sum == y.sum,
            (x, y) => x.is_none() && y.is_none(),
        }
    }

    fn visible_changed(&self, a: &NodeRow, b: &NodeRow, same: bool) -> bool {
        let (old, new) =
            (self.before.classes.get(a.class as usize), self.after.classes.get(b.class as usize));
        let (Some(old), Some(new)) = (old, new) else { return true };
        match same && Arc::ptr_eq(&old.sees, &new.sees) {
            true => {
                let seen = self.members.iter().filter(|(class, _)| old.sees.has(*class));
                seen.fold(0u128, |sum, (_, delta)| sum.wrapping_add(*delta)) != 0
            }
            false => !self.same_seen(a, b),
        }
    }

    /// Whether both see the same nodes, whoever is in their own class.
    fn same_seen(&self, a: &NodeRow, b: &NodeRow) -> bool {
        let seen = |e: &Engine, row: &NodeRow| {
            let own = e.classes.get(row.class as usize).is_some_and(|c| c.sees.has(row.class as usize));
            let id = crate::engine::fingerprint::mix(u128::from(row.facts.id.get()));
            e.visible_print(row.class).wrapping_sub(if own { id } else { 0 })
        };
        seen(&self.before, a) == seen(&self.after, b)
    }

    /// Whether an edited section that speaks of addresses lets the nodes of a class reach something, or be reached.
    fn reach_edited(&self, class: usize) -> bool {
        let routed = |e: &Engine, l: ListId| e.list(l).is_some_and(|l| l.all() || !l.nets.is_empty());
        let on = |e: &Engine, i: &usize| {
            let section = e.program.sections.get(*i).filter(|s| routed(e, s.src) || routed(e, s.dst));
            section.is_some_and(|s| e.in_list(s.src, class) || e.concerns(*i, s, class))
        };
        self.sections.0.iter().any(|i| on(&self.before, i))
            || self.sections.1.iter().any(|i| on(&self.after, i))
    }

    fn ssh_hit(&self, class: usize) -> bool {
        let on = |e: &Engine, i: &usize| e.program.ssh.get(*i).is_some_and(|s| e.ssh_concerns(s, class));
        self.ssh.0.iter().any(|i| on(&self.before, i)) || self.ssh.1.iter().any(|i| on(&self.after, i))
    }
}

/// Whether the sources of what a section puts on nodes moved.
fn has_moved(s: &Section, moved: impl Fn(ListId) -> bool) -> bool {
    moved(s.src) || (matches!(s.body, Body::Companion { .. }) && moved(s.dst))
}

impl Engine {
    /// What changed for one node between two values. For many nodes use one [`Comparison`].
    pub fn changed(before: &Engine, after: &Engine, node: NodeId) -> Touch {
        if before.is_same(after) {
            return Touch::default();
        }
        match after.nodes.get(&node) {
            Some(row) if before.is_related(after) && Arc::ptr_eq(&before.program, &after.program) => {
                Comparison::for_class(before, after, row.class as usize).touch(node)
            }
            _ => Comparison::new(before, after).touch(node),
        }
    }

    /// Whether an SSH rule can put something on the nodes of a class, as destinations or among a user's own nodes.
    fn ssh_concerns(&self, s: &SshSection, class: usize) -> bool {
        self.in_list(s.dst, class) || self.in_list(s.src, class)
    }
}
