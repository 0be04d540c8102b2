//! What to send to a viewer that knows the snapshot `then`, so that it knows `now`: computed from the rows that were touched.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headsail_netmap::diff::{changed, diff_filters};
use headsail_netmap::peer::{PeerDiff, compare};
use headsail_policy::{ClassKey, Comparison, PeerChanges, Touch};
use headsail_wire::ids::{NodeId, UserId};
use headsail_wire::map::MapResponse;
use headsail_wire::user::UserProfile;

use crate::model::node::Node;
use crate::model::settings::Settings;
use crate::model::user::User;
use crate::tailnet::Tailnet;
use crate::{nextdns, user_names, view};

/// What to send to a viewer.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    Nothing,
    Frame(Box<MapResponse>),
    /// The viewer was deleted.
    Gone,
}

/// The step from one snapshot to another. What is the same for all viewers is computed once.
pub struct Step {
    then: Arc<Tailnet>,
    now: Arc<Tailnet>,
    /// What the two policies say about nodes, compared. `None` if no answer differs.
    comparison: Option<Comparison>,
    /// What the policy changes in how nodes look to their peers.
    peers: PeerChanges,
    /// The rows that may look different to anybody, because of what is in them; sorted.
    touched: Vec<u64>,
    /// Whether the names of nodes with their users' may differ for everyone; see [`user_names`].
    names: bool,
    renamed: Vec<Renamed>,
    /// Whether somebody is more than a member in only one of the snapshots.
    roles: bool,
    settings: SettingsChange,
}

/// A user with another name or profile.
struct Renamed {
    user: Arc<User>,
    /// The classes of the user's nodes.
    classes: Vec<ClassKey>,
}

/// What another configuration concerns.
#[derive(Clone, Copy, Default)]
struct SettingsChange {
    /// Whether it is another one at all.
    any: bool,
    /// What nodes are told about themselves.
    nodes: bool,
    /// Something that is not the same for all viewers of a class.
    differs_by_node: bool,
}

impl SettingsChange {
    fn new(then: &Tailnet, now: &Tailnet) -> SettingsChange {
        let (was, is) = (then.settings(), now.settings());
        if Arc::ptr_eq(was, is) {
            return SettingsChange::default();
        }
        let for_nodes = |s: &Settings| (s.base_domain.clone(), s.taildrop, s.auto_update);
        let nodes = for_nodes(was) != for_nodes(is);
        let dns_by_node =
            |t: &Tailnet| nextdns::differs_by_node(&t.settings().dns) || user_names::are_told(t);
        SettingsChange { any: true, nodes, differs_by_node: nodes || dns_by_node(then) || dns_by_node(now) }
    }
}

impl Step {
    pub fn new(then: Arc<Tailnet>, now: Arc<Tailnet>) -> Step {
        let (was, is) = (then.access(), now.access());
        let comparison = (!was.has_answers_of(is)).then(|| Comparison::new(was.engine(), is.engine()));
        let peers = comparison.as_ref().map(PeerChanges::new).unwrap_or_default();
        let rows = now.nodes.touched_since(&then.nodes);
        let named = |id: &u64| match (then.nodes.get(*id), now.nodes.get(*id)) {
            (Some(was), Some(is)) => !user_names::is_same(was, is),
            _ => true,
        };
        let told = (user_names::are_told(&then), user_names::are_told(&now));
        let names = told.0 != told.1 || (told.1 && rows.iter().any(named));
        Step {
            touched: touched(&then, &now, rows),
            names,
            renamed: renamed(&then, &now),
            roles: was.has_roles() != is.has_roles(),
            settings: SettingsChange::new(&then, &now),
            comparison,
            peers,
            then,
            now,
        }
    }

    /// Whether the policy changes. If so, this step keeps both policies in memory.
    pub fn changes_policy(&self) -> bool {
        !Arc::ptr_eq(self.then.access().engine().policy(), self.now.access().engine().policy())
    }

    /// The rows that [`Step::delta`] compares for a viewer: those that may look different to everybody, and those that the
    /// policy makes look different to viewers of its class.
    pub fn rows(&self, viewer: NodeId) -> Cow<'_, [u64]> {
        if self.turns_expired(viewer) {
            let rows: BTreeSet<u64> = self.then.nodes().chain(self.now.nodes()).map(|n| n.id.get()).collect();
            return Cow::Owned(rows.into_iter().collect());
        }
        let Some((before, after)) = self.classes(viewer).filter(|(b, a)| self.peers.any(*b, *a)) else {
            return Cow::Borrowed(&self.touched);
        };
        let mut rows: Vec<u64> = self.peers.nodes(before, after).into_iter().map(NodeId::get).collect();
        rows.extend(&self.touched);
        rows.sort_unstable();
        rows.dedup();
        Cow::Owned(rows)
    }

    /// The classes of a viewer, then and now.
    fn classes(&self, viewer: NodeId) -> Option<(ClassKey, ClassKey)> {
        let class = |t: &Tailnet| t.access().engine().class_of(viewer);
        Some((class(&self.then)?, class(&self.now)?))
    }

    /// What a viewer must be told: says the same as `diff(project(then), project(now))`, and looks only at rows that may
    /// look different to this viewer.
    pub fn delta(&self, viewer: NodeId) -> Delta {
        let (then, now) = (&*self.then, &*self.now);
        let (Some(was), Some(me)) = (then.node(viewer), now.node(viewer)) else { return Delta::Gone };
        let mut out = MapResponse::default();
        let mut profiles: BTreeMap<UserId, UserProfile> = BTreeMap::new();
        self.tell_of_peers(was, me, &self.rows(viewer), &mut out, &mut profiles);
        self.tell_of_itself(was, me, &mut out, &mut profiles);
        profiles.extend(self.renamed_for(me).map(|user| (user.id, user.profile())));
        out.user_profiles = profiles.into_values().collect();
        if out == MapResponse::default() { Delta::Nothing } else { Delta::Frame(Box::new(out)) }
    }

    fn tell_of_peers(
        &self,
        was: &Node,
        me: &Node,
        rows: &[u64],
        out: &mut MapResponse,
        profiles: &mut BTreeMap<UserId, UserProfile>,
    ) {
        let (then, now) = (&*self.then, &*self.now);
        for id in rows {
            let old = then.nodes.get(*id).and_then(|n| view::peer(then, was, n));
            let row = now.nodes.get(*id);
            let new = row.and_then(|n| view::peer(now, me, n));
            match (old, new) {
                (None, None) => {}
                (Some(old), None) => out.peers_removed.push(old.id),
                (old, Some(new)) => {
                    let same_user = old.as_ref().is_some_and(|o| o.user == new.user);
                    if let Some(row) = row.filter(|_| !same_user) {
                        profiles.insert(new.user, now.profile(&row.owner));
                    }
                    match old.map_or(PeerDiff::Replace, |old| compare(&old, &new)) {
                        PeerDiff::Same => {}
                        PeerDiff::Patch(patch) => out.peers_changed_patch.push(*patch),
                        PeerDiff::Replace => out.peers_changed.push(Arc::new(new)),
                    }
                }
            }
        }
    }

    /// Whether the viewer's login has expired or is valid again: then all that it is told of others appears or goes.
    fn turns_expired(&self, viewer: NodeId) -> bool {
        match (self.then.node(viewer), self.now.node(viewer)) {
            (Some(was), Some(me)) => view::is_shown_others(was) != view::is_shown_others(me),
            _ => false,
        }
    }

    fn tell_of_itself(
        &self,
        was: &Arc<Node>,
        me: &Arc<Node>,
        out: &mut MapResponse,
        profiles: &mut BTreeMap<UserId, UserProfile>,
    ) {
        let (then, now, touch) = (&*self.then, &*self.now, self.touch(me.id));
        let same_routes = then.access().primary_routes(me.id) == now.access().primary_routes(me.id);
        let same_row = Arc::ptr_eq(was, me);
        if touch.caps || !same_row || self.settings.any || self.names_differ_for(me) {
            out.dns_config = changed(&view::dns(then, was), &view::dns(now, me));
        }
        if touch.caps || !same_routes || !same_row || self.settings.nodes || self.roles_differ_for(me) {
            let (old, new) = (view::me(then, was), view::me(now, me));
            if old != new {
                if old.user != new.user {
                    profiles.insert(new.user, now.profile(&me.owner));
                }
                out.node = Some(Arc::new(new));
            }
        }
        if self.settings.any {
            out.derp_map = changed(&then.settings().derp, &now.settings().derp);
            if then.settings().base_domain != now.settings().base_domain {
                out.domain = now.settings().base_domain.clone();
            }
        }
        let turned = self.turns_expired(me.id);
        if touch.ssh || turned {
            out.ssh_policy = changed(&view::ssh(then, was), &view::ssh(now, me));
        }
        if touch.filter || turned {
            out.packet_filters = diff_filters(&view::filters(then, was), &view::filters(now, me));
        }
    }

    /// What differs in what the policies say about a viewer.
    fn touch(&self, viewer: NodeId) -> Touch {
        self.comparison.as_ref().map(|c| c.touch_of_itself(viewer)).unwrap_or_default()
    }

    /// The users with another name or profile of whom the viewer sees a node, its own included.
    fn renamed_for(&self, me: &Node) -> impl Iterator<Item = &Arc<User>> {
        let is_seen =
            |r: &&Renamed| me.owner.user() == Some(r.user.id) || view::sees_any(&self.now, me, &r.classes);
        self.renamed.iter().filter(is_seen).map(|r| &r.user)
    }

    /// Whether the names of nodes with their users' may differ for a viewer.
    fn names_differ_for(&self, me: &Node) -> bool {
        let seen_differ = || self.classes(me.id).is_some_and(|(before, after)| self.peers.any(before, after));
        self.names
            || (user_names::are_told(&self.now) && (seen_differ() || self.renamed_for(me).next().is_some()))
    }

    /// Whether the roles of users make something else of a node: its owner's, or that somebody has one at all.
    fn roles_differ_for(&self, me: &Node) -> bool {
        let role = |t: &Tailnet, user| t.access().role(user);
        me.owner.user().is_some_and(|u| self.roles || role(&self.then, u) != role(&self.now, u))
    }

    /// Whether the delta may contain something specific to this viewer: its own row, packet filter, SSH policy or settings.
    /// Otherwise all viewers of its class are sent the same.
    pub fn tells_of_itself(&self, viewer: NodeId) -> bool {
        let (then, now) = (&*self.then, &*self.now);
        let (Some(was), Some(me)) = (then.node(viewer), now.node(viewer)) else { return true };
        let same_routes = then.access().primary_routes(viewer) == now.access().primary_routes(viewer);
        // Others of its class may be told of the viewer, which is not told of itself as a peer.
        let looks_different = self.touched.binary_search(&viewer.get()).is_ok()
            || self.classes(viewer).is_some_and(|(b, a)| self.peers.contains(b, a, viewer));
        let renamed = self.renamed.iter().any(|r| me.owner.user() == Some(r.user.id));
        // A node whose login has expired is told nothing of others, unlike those of its class.
        let itself =
            !Arc::ptr_eq(was, me) || !view::is_shown_others(me) || looks_different || !same_routes || renamed;
        if itself || self.settings.differs_by_node || self.roles_differ_for(me) || self.names_differ_for(me) {
            return true;
        }
        let touch = self.touch(viewer);
        touch.caps || touch.ssh || touch.filter
    }
}

/// The rows that may look different to anybody because of what is in them, out of those that were written; all rows if
/// names end in another domain.
fn touched(then: &Tailnet, now: &Tailnet, written: Vec<u64>) -> Vec<u64> {
    let mut rows = written;
    rows.retain(|id| match (then.nodes.get(*id), now.nodes.get(*id)) {
        (Some(was), Some(is)) => !was.same_to_others(is),
        _ => true,
    });
    rows.extend(now.access().routers_touched_since(then.access()));
    if then.settings().base_domain != now.settings().base_domain {
        rows.extend(then.nodes().chain(now.nodes()).map(|n| n.id.get()));
    }
    rows.sort_unstable();
    rows.dedup();
    rows
}

fn renamed(then: &Tailnet, now: &Tailnet) -> Vec<Renamed> {
    let users = now.users.touched_since(&then.users).into_iter();
    let both = users.filter_map(|id| Some((then.users.get(id)?, now.users.get(id)?)));
    let renamed = both.filter(|(old, new)| old.name != new.name || old.profile() != new.profile());
    let engine = now.access().engine();
    renamed.map(|(_, user)| Renamed { user: user.clone(), classes: engine.classes_of(user.id) }).collect()
}
