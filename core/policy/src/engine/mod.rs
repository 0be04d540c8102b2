//! A policy applied to a tailnet: classes of nodes that no rule can tell apart, and which of them may reach which.

pub(crate) mod compile;
pub(crate) mod cow;
pub(crate) mod edits;
pub(crate) mod facts;
pub(crate) mod fingerprint;
pub(crate) mod policy;
pub(crate) mod policy_edit;
pub(crate) mod program;
pub(crate) mod route_table;
pub(crate) mod signature;
pub(crate) mod users;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use headsail_wire::ids::{NodeId, UserId};
use ipnet::IpNet;

use crate::engine::cow::{Bits, CowMap, CowVec};
use crate::engine::facts::{NodeFacts, Owner, UserFacts};
use crate::engine::fingerprint::Fingerprint;
use crate::engine::policy::Policy;
use crate::engine::program::{List, ListId, Program, Section, SelId};
use crate::engine::route_table::{RouteRow, override_matches};
use crate::engine::signature::Signature;
use crate::text::net::is_exit_route;

/// The number of a class. Two nodes with the same key in one engine see the same nodes (apart from themselves) with the
/// same routes, so what is rendered for one can be sent to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassKey(pub(crate) u32);

/// A policy applied to users and nodes. Cloning is cheap: copies share what did not change, so an engine can be part of
/// every snapshot.
#[derive(Clone)]
pub struct Engine {
    pub(crate) policy: Arc<Policy>,
    pub(crate) program: Arc<Program>,
    pub(crate) users: CowMap<UserId, Arc<UserRow>>,
    /// The users for each folded name; sorted. See [`crate::engine::facts::folded`].
    pub(crate) by_name: CowMap<String, Arc<Vec<UserId>>>,
    pub(crate) nodes: CowMap<NodeId, Arc<NodeRow>>,
    pub(crate) by_addr: CowMap<IpAddr, NodeId>,
    pub(crate) classes: CowVec<Arc<Class>>,
    by_signature: CowMap<Arc<Signature>, u32>,
    /// For each list of the program, the classes in it.
    pub(crate) list_classes: CowVec<Arc<Bits>>,
    /// For each list, the fingerprint of the addresses of the nodes that it matches by identity.
    pub(crate) list_fingerprints: CowVec<Fingerprint>,
    /// For each section that overrides its targets (see [`Section::overrides_classes`]), the classes it arrives at.
    pub(crate) class_overrides: CowMap<usize, Arc<Bits>>,
    pub(crate) owners: CowMap<UserId, Arc<OwnerRow>>,
    pub(crate) routes: CowMap<IpNet, Arc<RouteRow>>,
    /// Fingerprint of the subnet routes that are served; they are part of `*` as a source.
    pub(crate) routes_fingerprint: Fingerprint,
    empty_classes: usize,
    /// Shared by all engines in which classes have the same numbers.
    lineage: Arc<()>,
}

#[derive(Clone, Debug)]
pub(crate) struct UserRow {
    pub facts: UserFacts,
    /// Selectors that name the user; sorted.
    pub sels: Arc<[SelId]>,
}

#[derive(Clone, Debug)]
pub(crate) struct NodeRow {
    pub facts: NodeFacts,
    pub class: u32,
    /// Its addresses as text, because filter rules repeat them thousands of times.
    pub address_text: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Class {
    pub signature: Arc<Signature>,
    /// Nodes of the class; sorted.
    pub members: Arc<Vec<NodeId>>,
    /// Classes that this one sees, and that see it.
    pub sees: Arc<Bits>,
    /// Fingerprint of the members' addresses.
    pub addresses: Fingerprint,
    /// Fingerprint of the members' ids.
    pub ids: Fingerprint,
    /// Lists that match the members by identity, not only by address.
    lists: Arc<[ListId]>,
}

/// The untagged nodes of a user.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnerRow {
    pub nodes: Vec<NodeId>,
    pub classes: Vec<u32>,
    /// Fingerprint of the nodes' addresses.
    pub addresses: Fingerprint,
}

impl Engine {
    /// Applies a policy to a tailnet.
    pub fn new(
        policy: Arc<Policy>,
        users: impl IntoIterator<Item = UserFacts>,
        nodes: impl IntoIterator<Item = NodeFacts>,
    ) -> Engine {
        let program = policy.program.clone();
        let lists = program.lists.len();
        let mut engine = Engine {
            users: CowMap::default(),
            by_name: CowMap::default(),
            nodes: CowMap::default(),
            by_addr: CowMap::default(),
            classes: CowVec::default(),
            by_signature: CowMap::default(),
            list_classes: std::iter::repeat_n(Arc::new(Bits::default()), lists).collect(),
            list_fingerprints: std::iter::repeat_n(Fingerprint::EMPTY, lists).collect(),
            class_overrides: CowMap::default(),
            owners: CowMap::default(),
            routes: CowMap::default(),
            routes_fingerprint: Fingerprint::EMPTY,
            empty_classes: 0,
            lineage: Arc::new(()),
            policy,
            program,
        };
        engine.set_users(users);
        for facts in nodes {
            engine.upsert_node(facts);
        }
        engine
    }

    /// The policy in effect.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// The facts of a node.
    pub fn node(&self, id: NodeId) -> Option<&NodeFacts> {
        self.nodes.get(&id).map(|n| &n.facts)
    }

    /// The facts of a user.
    pub fn user(&self, id: UserId) -> Option<&UserFacts> {
        self.users.get(&id).map(|u| &u.facts)
    }

    /// Whether selectors, lists and classes have the same numbers in both, because one was made of the other by changes.
    pub fn is_related(&self, other: &Engine) -> bool {
        Arc::ptr_eq(&self.lineage, &other.lineage)
    }

    /// Every node, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeFacts> {
        self.nodes.iter().map(|(_, n)| &n.facts)
    }

    /// Every user, by id.
    pub fn users(&self) -> impl Iterator<Item = &UserFacts> {
        self.users.iter().map(|(_, u)| &u.facts)
    }

    /// The classes of a user's untagged nodes.
    pub fn classes_of(&self, user: UserId) -> Vec<ClassKey> {
        let nodes = self.owners.get(&user).into_iter().flat_map(|o| &o.nodes);
        let classes: BTreeSet<ClassKey> = nodes.filter_map(|n| self.class_of(*n)).collect();
        classes.into_iter().collect()
    }

    /// The class of a node.
    pub fn class_of(&self, id: NodeId) -> Option<ClassKey> {
        self.nodes.get(&id).map(|n| ClassKey(n.class))
    }

    /// Adds a node, or replaces its facts.
    pub fn upsert_node(&mut self, mut facts: NodeFacts) {
        for routes in [&mut facts.advertised, &mut facts.approved, &mut facts.primary] {
            routes.sort();
            routes.dedup();
        }
        let id = facts.id;
        let old = self.nodes.get(&id).cloned();
        if old.as_ref().is_some_and(|o| o.facts == facts) && self.owner_known(&facts) {
            let unchanged = self.signature(&facts);
            let class = old.as_ref().and_then(|o| self.classes.get(o.class as usize));
            if class.is_some_and(|c| *c.signature == unchanged) {
                return;
            }
        }
        if let Some(old) = old {
            self.detach(&old);
        }
        let class = self.class_for(self.signature(&facts));
        let address_text = facts.addresses().map(|a| a.to_string()).collect();
        self.attach(Arc::new(NodeRow { facts, class, address_text }));
        self.rebuild_if_sparse();
    }

    fn owner_known(&self, facts: &NodeFacts) -> bool {
        facts.user().is_none_or(|u| self.owners.get(&u).is_some())
    }

    /// Removes a node.
    pub fn remove_node(&mut self, id: NodeId) {
        if let Some(old) = self.nodes.get(&id).cloned() {
            self.detach(&old);
            self.rebuild_if_sparse();
        }
    }

    pub(crate) fn signature(&self, facts: &NodeFacts) -> Signature {
        let p = &self.program;
        let mut sels = Vec::new();
        let mut owner = None;
        match &facts.owner {
            Owner::User(id) => {
                sels.extend(self.users.get(id).into_iter().flat_map(|u| u.sels.iter().copied()));
                owner = p.uses_self.then_some(*id);
            }
            Owner::Tags(tags) => {
                sels.extend(tags.iter().filter_map(|t| p.by_tag.get(t)));
                sels.extend(p.tagged);
            }
        }
        facts.addresses().for_each(|a| p.nets_containing(a, &mut sels));
        let known = sels.len();
        let routes: Vec<IpNet> = facts.serves().copied().collect();
        for r in &routes {
            if !is_exit_route(r) {
                p.nets_overlapping(r, &mut sels);
            }
            if crate::text::net::reaches_internet(r) {
                sels.extend(p.internet);
            }
        }
        let mut routed = Vec::new();
        if p.uses_address_grants {
            let (by_name, by_route) = sels.split_at(known);
            let by_name: BTreeSet<_> = by_name.iter().collect();
            routed.extend(by_route.iter().filter(|s| !by_name.contains(s)));
        }
        for list in [&mut sels, &mut routed] {
            list.sort();
            list.dedup();
        }
        Signature { sels, routed, owner, routes }
    }

    /// The class with a signature. A new class is matched against every rule.
    fn class_for(&mut self, signature: Signature) -> u32 {
        if let Some(c) = self.by_signature.get(&signature) {
            return *c;
        }
        let class = self.classes.len() as u32;
        let signature = Arc::new(signature);
        let program = self.program.clone();
        for (id, list) in program.lists.iter().enumerate() {
            if (list.all() || list.sels().any(|s| signature.has(s)))
                && let Some(bits) = self.list_classes.get_mut(id)
            {
                Arc::make_mut(bits).set(class as usize);
            }
        }
        for (i, section) in program.sections.iter().enumerate().filter(|(_, s)| s.overrides_classes()) {
            if override_matches(&program, section, &signature) {
                let mut bits = self.class_overrides.get(&i).cloned().unwrap_or_default();
                Arc::make_mut(&mut bits).set(class as usize);
                self.class_overrides.insert(i, bits);
            }
        }
        if let Some(owner) = signature.owner {
            self.change_owner(owner, |o| o.classes.push(class));
        }
        let naming = |(id, l): (ListId, &List)| l.identities.iter().any(|s| signature.has(*s)).then_some(id);
        let row = Class {
            lists: program.lists.iter().enumerate().filter_map(naming).collect(),
            signature: signature.clone(),
            members: Arc::default(),
            sees: Arc::default(),
            addresses: Fingerprint::EMPTY,
            ids: Fingerprint::EMPTY,
        };
        self.classes.push(Arc::new(row));
        self.empty_classes += 1;
        self.by_signature.insert(signature, class);
        self.link(class);
        class
    }

    /// Records that a list matches a class by identity.
    pub(crate) fn add_list_of_class(&mut self, class: usize, list: ListId) {
        if let Some(row) = self.classes.get_mut(class) {
            let row = Arc::make_mut(row);
            row.lists = row.lists.iter().copied().chain([list]).collect();
        }
    }

    /// Works out which classes a new class sees, and adds it to theirs.
    fn link(&mut self, class: u32) {
        let c = class as usize;
        let sees = self.seen_by(c);
        for other in sees.iter().collect::<Vec<_>>() {
            if let Some(row) = self.classes.get_mut(other) {
                let row = Arc::make_mut(row);
                Arc::make_mut(&mut row.sees).set(c);
            }
        }
        if let Some(row) = self.classes.get_mut(c) {
            Arc::make_mut(row).sees = Arc::new(sees);
        }
    }

    /// The classes that a class sees under the rules: those it may reach, and those that may reach it.
    pub(crate) fn seen_by(&self, c: usize) -> Bits {
        let mut sees = Bits::default();
        for (i, s) in self.program.sections.iter().enumerate() {
            let from = self.in_list(s.src, c);
            if s.to_self {
                let owner = self.classes.get(c).and_then(|k| k.signature.owner).filter(|_| from);
                let row = owner.and_then(|o| self.owners.get(&o));
                row.into_iter().flat_map(|o| &o.classes).for_each(|other| sees.set(*other as usize));
                continue;
            }
            let Some(to) = self.target_classes(i, s) else { continue };
            if from {
                sees.add(to);
            }
            if to.has(c)
                && let Some(from) = self.list_classes.get(s.src)
            {
                sees.add(from);
            }
        }
        sees
    }

    /// The classes at which a section's traffic arrives.
    pub(crate) fn target_classes(&self, index: usize, s: &Section) -> Option<&Arc<Bits>> {
        if s.overrides_classes() { self.class_overrides.get(&index) } else { self.list_classes.get(s.dst) }
    }

    pub(crate) fn in_list(&self, list: ListId, class: usize) -> bool {
        self.list_classes.get(list).is_some_and(|b| b.has(class))
    }

    pub(crate) fn list(&self, id: ListId) -> Option<&List> {
        self.program.lists.get(id)
    }

    fn change_owner(&mut self, owner: UserId, change: impl FnOnce(&mut OwnerRow)) {
        let mut row = self.owners.get(&owner).cloned().unwrap_or_default();
        change(Arc::make_mut(&mut row));
        self.owners.insert(owner, row);
    }

    fn attach(&mut self, row: Arc<NodeRow>) {
        let id = row.facts.id;
        let addresses = addresses_of(&row.facts);
        self.change_class(row.class, addresses, Fingerprint::of_number(id.get()), |members| {
            if let Err(at) = members.binary_search(&id) {
                members.insert(at, id);
            }
        });
        if let Some(owner) = row.facts.user() {
            self.change_owner(owner, |o| {
                if let Err(at) = o.nodes.binary_search(&id) {
                    o.nodes.insert(at, id);
                }
                o.addresses += addresses;
            });
        }
        for a in row.facts.addresses() {
            self.by_addr.insert(a, id);
        }
        self.serve_routes(&row.facts, true);
        self.nodes.insert(id, row);
    }

    fn detach(&mut self, row: &NodeRow) {
        let id = row.facts.id;
        let addresses = addresses_of(&row.facts);
        self.change_class(row.class, -addresses, -Fingerprint::of_number(id.get()), |members| {
            if let Ok(at) = members.binary_search(&id) {
                members.remove(at);
            }
        });
        if let Some(owner) = row.facts.user() {
            self.change_owner(owner, |o| {
                o.nodes.retain(|n| *n != id);
                o.addresses -= addresses;
            });
        }
        for a in row.facts.addresses() {
            if self.by_addr.get(&a) == Some(&id) {
                self.by_addr.remove(&a);
            }
        }
        self.serve_routes(&row.facts, false);
        self.nodes.remove(&id);
    }

    fn change_class(
        &mut self,
        class: u32,
        addresses: Fingerprint,
        ids: Fingerprint,
        change: impl FnOnce(&mut Vec<NodeId>),
    ) {
        let Some(row) = self.classes.get_mut(class as usize) else { return };
        let row = Arc::make_mut(row);
        let was_empty = row.members.is_empty();
        change(Arc::make_mut(&mut row.members));
        row.addresses += addresses;
        row.ids += ids;
        match (was_empty, row.members.is_empty()) {
            (true, false) => self.empty_classes = self.empty_classes.saturating_sub(1),
            (false, true) => self.empty_classes += 1,
            _ => {}
        }
        for list in row.lists.clone().iter() {
            if let Some(total) = self.list_fingerprints.get_mut(*list) {
                *total += addresses;
            }
        }
    }

    /// Rebuilds the engine when most classes have lost their last node.
    fn rebuild_if_sparse(&mut self) {
        if self.empty_classes > 64 && self.empty_classes > self.classes.len() / 2 {
            let users: Vec<UserFacts> = self.users().cloned().collect();
            let nodes: Vec<NodeFacts> = self.nodes().cloned().collect();
            *self = Engine::new(self.policy.clone(), users, nodes);
        }
    }
}

fn addresses_of(facts: &NodeFacts) -> Fingerprint {
    facts.addresses().map(Fingerprint::of_address).sum()
}
