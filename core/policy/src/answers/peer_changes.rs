//! What changes between two engines in how nodes look to their peers: for each pair of classes, not for each pair of
//! nodes.
//!
//! How a node looks depends on its own facts, on its class and on the viewer's. So all nodes that have the same class before
//! and after are one group, as viewers and as peers, and two groups are compared once for all their members. Only
//! routers are compared one by one, because their routes depend on elections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headsail_wire::ids::NodeId;
use ipnet::IpNet;

use crate::answers::comparison::Comparison;
use crate::engine::cow::Bits;
use crate::engine::program::{ListId, Program, SelId};
use crate::engine::route_table::RouteRow;
use crate::engine::{ClassKey, Engine, NodeRow};

/// The class of a node before and after.
type Pair = (u32, u32);

/// For viewers of each pair of classes, the nodes that may look different to them. A node that is only in one of the
/// engines, or whose own addresses changed, is not among them for that reason.
#[derive(Default)]
pub struct PeerChanges {
    groups: Groups,
    by_viewer: BTreeMap<Pair, Different>,
}

/// What looks different to viewers of one group.
#[derive(Default)]
struct Different {
    groups: Bits,
    /// Routers whose routes or capabilities differ; sorted.
    routers: Vec<NodeId>,
}

/// Nodes with the same class before and the same class after.
#[derive(Default)]
struct Groups {
    numbers: BTreeMap<Pair, usize>,
    members: Vec<Vec<NodeId>>,
}

impl Groups {
    fn add(&mut self, pair: Pair, members: impl Iterator<Item = NodeId>) -> usize {
        let next = self.members.len();
        let number = *self.numbers.entry(pair).or_insert(next);
        if number == next {
            self.members.push(Vec::new());
        }
        if let Some(group) = self.members.get_mut(number) {
            group.extend(members);
        }
        number
    }
}

impl PeerChanges {
    /// Finds the pairs of classes that differ. Costs what has changed, times the number of classes.
    pub fn new(comparison: &Comparison) -> PeerChanges {
        let mut search = Search::new(comparison);
        search.compare_unmoved();
        search.compare_moved();
        search.compare_routers();
        search.changes
    }

    /// The nodes that may look different to a viewer of these classes, before and after; sorted. The viewer may be one
    /// of them.
    pub fn nodes(&self, before: ClassKey, after: ClassKey) -> Vec<NodeId> {
        let Some(different) = self.by_viewer.get(&(before.0, after.0)) else { return Vec::new() };
        let groups = different.groups.iter().filter_map(|g| self.groups.members.get(g));
        let mut nodes: Vec<NodeId> = groups.flatten().chain(&different.routers).copied().collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// Whether any node may look different to a viewer of these classes.
    pub fn any(&self, before: ClassKey, after: ClassKey) -> bool {
        self.by_viewer.contains_key(&(before.0, after.0))
    }

    /// Whether a viewer of these classes is itself among the nodes that may look different to its class: then it is not
    /// sent the same as others of its class.
    pub fn contains(&self, before: ClassKey, after: ClassKey, viewer: NodeId) -> bool {
        let pair = (before.0, after.0);
        let Some(different) = self.by_viewer.get(&pair) else { return false };
        let own_group = self.groups.numbers.get(&pair);
        own_group.is_some_and(|g| different.groups.has(*g))
            || different.routers.binary_search(&viewer).is_ok()
    }
}

/// The work of [`PeerChanges::new`].
struct Search<'a> {
    comparison: &'a Comparison,
    before: &'a Engine,
    after: &'a Engine,
    /// Pairs of different classes, with their groups; all pairs if the classes of the engines have different numbers.
    moved: Vec<(Pair, usize)>,
    /// Classes with members, where they have the same numbers in both engines and have to be looked at one by one.
    kept: Vec<u32>,
    /// Routers that may look different to viewers that keep their class.
    routers: BTreeSet<NodeId>,
    /// Whether the addresses that peers get can depend on the class at all.
    hides: bool,
    /// Whether it can depend on the class in another way than before.
    hiding_edited: bool,
    changes: PeerChanges,
}

impl<'a> Search<'a> {
    fn new(comparison: &'a Comparison) -> Search<'a> {
        let (before, after) = comparison.engines();
        let mut groups = Groups::default();
        let class_before = |id: &NodeId| before.nodes.get(id).map(|row| row.class);
        let mut add = |id: NodeId, row: &NodeRow| {
            if let Some(class) = class_before(&id).filter(|c| *c != row.class || !comparison.is_related()) {
                groups.add((class, row.class), std::iter::once(id));
            }
        };
        match comparison.is_related() {
            true => comparison.changed_rows().for_each(|(id, _, row)| {
                row.into_iter().for_each(|row| add(id, row));
            }),
            false => after.nodes.iter().for_each(|(id, row)| add(*id, row)),
        }
        let moved: Vec<(Pair, usize)> = groups.numbers.iter().map(|(pair, n)| (*pair, *n)).collect();
        let routers = concerned_routers(comparison);
        let hides = before.hides_addresses() || after.hides_addresses();
        let hiding_edited = hides && comparison.is_related() && comparison.attrs_edited();
        let has_members = |c: &u32| after.classes.get(*c as usize).is_some_and(|c| !c.members.is_empty());
        let mut kept = Vec::new();
        if comparison.is_related() && (!moved.is_empty() || !routers.is_empty() || hiding_edited) {
            kept.extend((0..before.classes.len() as u32).filter(has_members));
        }
        let changes = PeerChanges { groups, by_viewer: BTreeMap::new() };
        Search { comparison, before, after, moved, kept, routers, hides, hiding_edited, changes }
    }

    /// Viewers and peers that keep their class: what they see differs where rules were edited.
    fn compare_unmoved(&mut self) {
        if !self.comparison.is_related() {
            return;
        }
        if self.hiding_edited {
            for viewer in self.kept.clone() {
                let differs = |c: &u32| self.differ((viewer, viewer), (*c, *c));
                let others: Vec<u32> = self.kept.iter().copied().filter(differs).collect();
                others.into_iter().for_each(|c| self.add_kept((viewer, viewer), c));
            }
            return;
        }
        let (before, after) = (self.before, self.after);
        for c in after.classes.unshared(&before.classes) {
            let (Some(old), Some(new)) = (before.classes.get(c), after.classes.get(c)) else { continue };
            if Arc::ptr_eq(&old.sees, &new.sees) || new.members.is_empty() {
                continue;
            }
            let viewer = (c as u32, c as u32);
            old.sees.differing(&new.sees).iter().for_each(|other| self.add_kept(viewer, other as u32));
        }
    }

    /// Viewers or peers that changed their class.
    fn compare_moved(&mut self) {
        let moved = self.moved.clone();
        let kept: Vec<Pair> = self.kept.iter().map(|c| (*c, *c)).collect();
        for viewer in kept.iter().copied().chain(moved.iter().map(|(pair, _)| *pair)) {
            for (other, group) in &moved {
                if self.differ(viewer, *other) {
                    self.of(viewer).groups.set(*group);
                }
            }
        }
        for (viewer, _) in moved {
            for other in &kept {
                if self.differ(viewer, *other) {
                    self.add_kept(viewer, other.0);
                }
            }
        }
    }

    /// Routes and capabilities of routers that are seen before and after.
    fn compare_routers(&mut self) {
        let routers = std::mem::take(&mut self.routers);
        if !routers.is_empty() {
            for c in self.kept.clone() {
                self.compare_routers_for((c, c), &routers);
            }
        }
        if !self.moved.is_empty() {
            let routes = |e: &'a Engine| e.routes.iter().flat_map(|(_, row)| row.servers.iter().copied());
            let all: BTreeSet<NodeId> = routes(self.before).chain(routes(self.after)).collect();
            for (viewer, _) in self.moved.clone() {
                self.compare_routers_for(viewer, &all);
            }
        }
    }

    fn compare_routers_for(&mut self, viewer: Pair, routers: &BTreeSet<NodeId>) {
        let (before, after) = (self.before, self.after);
        for router in routers {
            let (Some(was), Some(is)) = (before.nodes.get(router), after.nodes.get(router)) else { continue };
            let seen = before.class_sees(viewer.0, was.class) && after.class_sees(viewer.1, is.class);
            if seen
                && (before.routes_given(viewer.0, was) != after.routes_given(viewer.1, is)
                    || before.caps_shown(was) != after.caps_shown(is))
            {
                self.of(viewer).routers.push(*router);
            }
        }
    }

    /// Whether nodes of one group see other nodes of another group before or after, or get other addresses for them.
    fn differ(&self, viewer: Pair, other: Pair) -> bool {
        let seen = self.before.class_sees(viewer.0, other.0);
        if seen != self.after.class_sees(viewer.1, other.1) {
            return true;
        }
        let hidden = |e: &Engine, a: u32, b: u32| e.class_hides_ipv4(a) || e.class_hides_ipv4(b);
        seen && self.hides && hidden(self.before, viewer.0, other.0) != hidden(self.after, viewer.1, other.1)
    }

    /// Records that the nodes that keep a class look different to a group of viewers.
    fn add_kept(&mut self, viewer: Pair, class: u32) {
        let pair = (class, class);
        let number = match self.changes.groups.numbers.get(&pair) {
            Some(known) => *known,
            None => {
                let (before, after) = (self.before, self.after);
                let class_before = |id: &NodeId| before.nodes.get(id).map(|row| row.class);
                let members = after.classes.get(class as usize).into_iter().flat_map(|c| c.members.iter());
                let unmoved = members.copied().filter(|id| class_before(id) == Some(class));
                self.changes.groups.add(pair, unmoved)
            }
        };
        if self.changes.groups.members.get(number).is_some_and(|g| !g.is_empty()) {
            self.of(viewer).groups.set(number);
        }
    }

    fn of(&mut self, viewer: Pair) -> &mut Different {
        self.changes.by_viewer.entry(viewer).or_default()
    }
}

/// The routers that may look different to viewers that keep their class.
fn concerned_routers(comparison: &Comparison) -> BTreeSet<NodeId> {
    if !comparison.is_related() {
        return BTreeSet::new();
    }
    let (before, after) = comparison.engines();
    let rows = comparison.changed_rows().flat_map(|(_, old, new)| [old, new]).flatten();
    let mut routes: BTreeSet<IpNet> = rows.flat_map(|row| row.facts.serves().copied()).collect();
    if !Arc::ptr_eq(&before.program, &after.program) {
        let edited = |r: &IpNet, row: &RouteRow| {
            before
                .routes
                .get(r)
                .is_none_or(|old| rules_about(&before.program, old) != rules_about(&after.program, row))
        };
        routes.extend(after.routes.iter().filter(|(r, row)| edited(r, row)).map(|(r, _)| *r));
    }
    if comparison.attrs_edited() {
        routes.extend(after.routes.iter().map(|(r, _)| *r));
    }
    let rows = routes.iter().flat_map(|r| [before.routes.get(r), after.routes.get(r)]).flatten();
    rows.flat_map(|row| row.servers.iter().copied()).collect()
}

/// What a route's row says, whatever the numbers of the sections are: the sources of the rules that reach it, the sources
/// and routers of those that reach it through routers, and the destinations of those that it is a source of.
type RouteRules<'a> = (&'a [ListId], Vec<(ListId, &'a [SelId])>, Vec<(ListId, &'a [SelId], bool)>);

fn rules_about<'a>(program: &'a Program, row: &'a RouteRow) -> RouteRules<'a> {
    let sections = |numbers: &'a [usize]| numbers.iter().filter_map(|i| program.sections.get(*i));
    let via = sections(&row.via_sections).map(|s| (s.src, s.via.as_slice())).collect();
    let from = sections(&row.source_sections).map(|s| (s.dst, s.via.as_slice(), s.by_address)).collect();
    (&row.source_lists, via, from)
}
