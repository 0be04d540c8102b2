//! Which answers about a node differ between two engines, found without rendering anything where nothing changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use headsail_wire::ids::{NodeId, UserId};

use crate::answers::sources::Sources;
use crate::engine::cow::Bits;
use crate::engine::edits::{common_ends, differing};
use crate::engine::fingerprint::Fingerprint;
use crate::engine::program::{Body, List, ListId, Program, Section, SshSection};
use crate::engine::{Engine, NodeRow, UserRow};
use crate::text::document::SshRule;

/// Which of the answers about a node changed.
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
}

impl Touch {
    /// Whether anything changed.
    pub fn any(self) -> bool {
        self != Touch::default()
    }
}

/// Two engines, compared once for all nodes. It keeps (cheap) clones of both, so all viewers that move from one to the
/// other can share it.
pub struct Comparison {
    before: Engine,
    after: Engine,
    /// Whether selectors, lists and classes have the same numbers in both.
    related: bool,
    /// Classes on which an unedited section puts sources that changed.
    sources_changed_at: Bits,
    /// Classes that edited sections concern.
    edited_classes: Bits,
    /// Sections, by index after, whose sources are the nodes of the same owner.
    self_sections: Vec<usize>,
    /// Whether SSH rules depend on who owns the nodes.
    ssh_depends_on_owners: bool,
    /// SSH rules that were edited or whose sources changed, by index before and after.
    ssh: (Vec<usize>, Vec<usize>),
    /// Classes whose members changed, and the difference between their ids.
    member_changes: Vec<(usize, Fingerprint)>,
    /// Whether the facts of any node or user changed.
    facts_changed: bool,
    /// Nodes whose facts or class changed, with both rows; by id.
    changed_rows: Vec<ChangedRow>,
    /// Whether the owner or an address of any node changed, or the e-mail address of an owner.
    owners_changed: bool,
    attrs_edited: bool,
}

/// A node's rows before and after, where the node is there.
type ChangedRow = (NodeId, Option<Arc<NodeRow>>, Option<Arc<NodeRow>>);

impl Comparison {
    /// Compares two engines. Cheap if one is an updated clone of the other.
    pub fn new(before: &Engine, after: &Engine) -> Comparison {
        let mut c = Comparison::of_members(before, after);
        if !c.related {
            return c;
        }
        let (old, new) = (&before.program, &after.program);
        let same = Arc::ptr_eq(old, new);
        c.attrs_edited = !same && (old.attrs != new.attrs || old.switches != new.switches);
        let lists = c.changed_lists();
        let changed = |l: ListId| lists.contains(&l) || l >= old.lists.len();
        c.compare_sections(same, changed);
        c.compare_ssh(same, changed);
        c
    }

    /// Compares only the members of classes.
    fn of_members(before: &Engine, after: &Engine) -> Comparison {
        let (old, new) = (&before.program, &after.program);
        let lineage = || new.sels.starts_with(&old.sels) && new.lists.starts_with(&old.lists);
        let ids = |e: &Engine, i: usize| e.classes.get(i).map(|class| class.ids).unwrap_or_default();
        let unshared = after.classes.unshared(&before.classes);
        let changes = unshared.map(|i| (i, ids(after, i) - ids(before, i)));
        let to_self = new.sections.iter().enumerate().filter(|(_, s)| new.uses_self && s.to_self);
        let changed_rows = changed_rows(before, after);
        let by_owner = |p: &Program| p.ssh.iter().any(|s| s.to_self || s.depends_on_owners);
        Comparison {
            before: before.clone(),
            after: after.clone(),
            related: before.is_related(after) && (Arc::ptr_eq(old, new) || lineage()),
            facts_changed: !before.nodes.is_same(&after.nodes) || !before.users.is_same(&after.users),
            owners_changed: owners_changed(before, after, &changed_rows),
            changed_rows,
            sources_changed_at: Bits::default(),
            edited_classes: Bits::default(),
            self_sections: to_self.map(|(i, _)| i).collect(),
            ssh_depends_on_owners: by_owner(old) || by_owner(new),
            ssh: Default::default(),
            member_changes: changes.filter(|(_, change)| *change != Fingerprint::EMPTY).collect(),
            attrs_edited: false,
        }
    }

    fn compare_sections(&mut self, same: bool, changed: impl Fn(ListId) -> bool) {
        let (before, after) = (&self.before, &self.after);
        let (old, new) = (&before.program.sections, &after.program.sections);
        let ends = if same { (old.len(), 0) } else { common_ends(old, new) };
        let edited = (differing(old, ends, |_| false), differing(new, ends, |_| false));
        let kept = |i: &usize| edited.1.binary_search(i).is_err();
        // The sources of a rule about a user's own nodes are those nodes; its list only says to whom it applies.
        let from_list = new.iter().enumerate().filter(|(_, s)| !s.to_self);
        for (i, s) in from_list.filter(|(i, s)| sources_changed(s, &changed) && kept(i)) {
            after.add_concerned(i, s, &mut self.sources_changed_at);
        }
        for (engine, sections) in [(before, &edited.0), (after, &edited.1)] {
            for i in sections {
                let section = engine.program.sections.get(*i);
                section.into_iter().for_each(|s| engine.add_concerned(*i, s, &mut self.edited_classes));
            }
        }
    }

    fn compare_ssh(&mut self, same: bool, changed: impl Fn(ListId) -> bool) {
        let rules = |e: &Engine| -> Vec<_> {
            let rule = |s: &SshSection| Some((s.clone(), e.policy.document.ssh.get(s.rule)?.clone()));
            e.program.ssh.iter().filter_map(rule).collect()
        };
        let (old, new) = (rules(&self.before), rules(&self.after));
        let ends = if same { (old.len(), 0) } else { common_ends(&old, &new) };
        let concerned =
            |(s, _): &(SshSection, SshRule)| changed(s.src) || (s.depends_on_owners && self.owners_changed);
        self.ssh = (differing(&old, ends, concerned), differing(&new, ends, concerned));
    }

    fn list_changed(&self, list: ListId) -> bool {
        let fingerprint = |e: &Engine| e.sources_fingerprint(Sources::List(list));
        fingerprint(&self.before) != fingerprint(&self.after)
    }

    /// Lists whose sources differ.
    fn changed_lists(&self) -> BTreeSet<ListId> {
        let (before, after) = (&self.before, &self.after);
        let routes_changed = before.routes_fingerprint != after.routes_fingerprint;
        let mixed = |l: &List| !l.nets.is_empty() && !l.identities.is_empty() && self.facts_changed;
        let lists = before.program.lists.iter().enumerate();
        let special = lists.filter(|(_, l)| (l.any && routes_changed) || mixed(l)).map(|(i, _)| i);
        let unshared = after.list_fingerprints.unshared(&before.list_fingerprints);
        special.chain(unshared).filter(|l| self.list_changed(*l)).collect()
    }

    pub(crate) fn engines(&self) -> (&Engine, &Engine) {
        (&self.before, &self.after)
    }

    pub(crate) fn is_related(&self) -> bool {
        self.related
    }

    pub(crate) fn attrs_edited(&self) -> bool {
        self.attrs_edited || !self.related
    }

    pub(crate) fn changed_rows(&self) -> impl Iterator<Item = (NodeId, Option<&NodeRow>, Option<&NodeRow>)> {
        self.changed_rows.iter().map(|(id, old, new)| (*id, old.as_deref(), new.as_deref()))
    }

    /// What changed for a node that is in both engines; everything for one that is not.
    pub fn touch(&self, node: NodeId) -> Touch {
        let visible = match (self.before.nodes.get(&node), self.after.nodes.get(&node)) {
            (Some(a), Some(b)) => self.visible_changed(a, b, self.is_same_row(a, b)),
            _ => true,
        };
        Touch { visible, ..self.touch_of_itself(node) }
    }

    fn is_same_row(&self, a: &Arc<NodeRow>, b: &Arc<NodeRow>) -> bool {
        self.related && a.class == b.class && (Arc::ptr_eq(a, b) || a.facts == b.facts)
    }

    /// As [`Comparison::touch`], without the set of nodes that it sees, which takes longest.
    pub fn touch_of_itself(&self, node: NodeId) -> Touch {
        let (before, after) = (&self.before, &self.after);
        let (Some(a), Some(b)) = (before.nodes.get(&node), after.nodes.get(&node)) else {
            return Touch { visible: false, filter: true, ssh: true, caps: true };
        };
        let same = self.is_same_row(a, b);
        let class = a.class as usize;
        // Rules about a user's own nodes change with those nodes; no other rule depends on the owner.
        let relevant = self.ssh_depends_on_owners || !self.self_sections.is_empty();
        let same_owner = !same || !relevant || self.same_owner(a);
        let filter_differs = || before.filter_fingerprint(node) != after.filter_fingerprint(node);
        let ssh_differs = || before.ssh_fingerprint(node) != after.ssh_fingerprint(node);
        let caps_differ = || before.caps_fingerprint(node) != after.caps_fingerprint(node);
        Touch {
            visible: false,
            // Without a policy, sources are written as `*`, which admits more than `*` in a rule.
            filter: if same && before.policy.is_none() == after.policy.is_none() {
                self.sources_changed_at.has(class)
                    || (!same_owner && self.self_sections.iter().any(|i| self.is_source(*i, class)))
                    || (self.edited_classes.has(class) && filter_differs())
            } else {
                filter_differs()
            },
            ssh: (!same || (self.ssh_depends_on_owners && !same_owner) || self.ssh_changed(class))
                && ssh_differs(),
            caps: (!same || self.attrs_edited) && caps_differ(),
        }
    }

    /// The nodes of either engine for which anything changed.
    pub fn touched(&self) -> impl Iterator<Item = (NodeId, Touch)> {
        let gone = self.before.nodes().map(|n| n.id).filter(|id| self.after.node(*id).is_none());
        let all = self.after.nodes().map(|n| n.id).chain(gone);
        all.map(|id| (id, self.touch(id))).filter(|(_, t)| t.any())
    }

    fn is_source(&self, section: usize, class: usize) -> bool {
        let section = self.after.program.sections.get(section);
        section.is_some_and(|s| self.after.in_list(s.src, class))
    }

    /// Whether the owner has the same nodes in both, for rules about a user's own nodes.
    fn same_owner(&self, a: &NodeRow) -> bool {
        let Some(owner) = a.facts.user() else { return true };
        match (self.before.owners.get(&owner), self.after.owners.get(&owner)) {
            (Some(x), Some(y)) => Arc::ptr_eq(x, y) || x.addresses == y.addresses,
            (x, y) => x.is_none() && y.is_none(),
        }
    }

    fn visible_changed(&self, a: &NodeRow, b: &NodeRow, same: bool) -> bool {
        let (old, new) =
            (self.before.classes.get(a.class as usize), self.after.classes.get(b.class as usize));
        let (Some(old), Some(new)) = (old, new) else { return true };
        if same && Arc::ptr_eq(&old.sees, &new.sees) {
            let seen = self.member_changes.iter().filter(|(class, _)| old.sees.has(*class));
            seen.map(|(_, change)| *change).sum::<Fingerprint>() != Fingerprint::EMPTY
        } else {
            !self.sees_the_same(a, b)
        }
    }

    /// Whether the node sees the same nodes in both, itself left out.
    fn sees_the_same(&self, a: &NodeRow, b: &NodeRow) -> bool {
        let seen = |e: &Engine, row: &NodeRow| {
            let own = e.classes.get(row.class as usize).is_some_and(|c| c.sees.has(row.class as usize));
            let itself = own.then(|| Fingerprint::of_number(row.facts.id.get()));
            e.visible_fingerprint(row.class) - itself.unwrap_or_default()
        };
        seen(&self.before, a) == seen(&self.after, b)
    }

    fn ssh_changed(&self, class: usize) -> bool {
        let on = |e: &Engine, i: &usize| e.program.ssh.get(*i).is_some_and(|s| e.ssh_concerns(s, class));
        self.ssh.0.iter().any(|i| on(&self.before, i)) || self.ssh.1.iter().any(|i| on(&self.after, i))
    }
}

fn changed_rows(before: &Engine, after: &Engine) -> Vec<ChangedRow> {
    let differ =
        |a: &Arc<NodeRow>, b: &Arc<NodeRow>| !Arc::ptr_eq(a, b) && (a.class != b.class || a.facts != b.facts);
    let rows = before.nodes.unshared(&after.nodes).into_iter();
    let changed = rows.filter(|(_, (old, new))| match (old, new) {
        (Some(old), Some(new)) => differ(old, new),
        (old, new) => old.is_some() || new.is_some(),
    });
    changed.map(|(id, (old, new))| (*id, old.cloned(), new.cloned())).collect()
}

/// Whether SSH rules that depend on who owns the nodes may mean something else.
fn owners_changed(before: &Engine, after: &Engine, rows: &[ChangedRow]) -> bool {
    let known =
        |row: &Option<Arc<NodeRow>>| row.as_ref().map(|r| (r.facts.owner.clone(), r.facts.v4, r.facts.v6));
    let owns = |e: &Engine, user: &UserId| e.owners.get(user).is_some_and(|o| !o.nodes.is_empty());
    let email = |row: Option<&Arc<UserRow>>| row.map(|u| u.facts.email.clone()).unwrap_or_default();
    rows.iter().any(|(_, old, new)| known(old) != known(new))
        || before
            .users
            .unshared(&after.users)
            .into_iter()
            .any(|(user, (old, new))| email(old) != email(new) && (owns(before, user) || owns(after, user)))
}

/// Whether the sources of what a section puts on nodes changed.
fn sources_changed(s: &Section, changed: impl Fn(ListId) -> bool) -> bool {
    changed(s.src) || (matches!(s.body, Body::Companion { .. }) && changed(s.dst))
}

impl Engine {
    /// Whether an SSH rule can put something on the nodes of a class, as destinations or among a user's own nodes.
    fn ssh_concerns(&self, s: &SshSection, class: usize) -> bool {
        self.in_list(s.dst, class) || self.in_list(s.src, class)
    }
}
