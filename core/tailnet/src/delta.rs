//! What to send to a viewer that knows the snapshot `then`, so that it knows `now`: computed from the rows that were touched.

use std::collections::BTreeMap;
use std::sync::Arc;

use headsail_netmap::diff::{changed, diff_filters};
use headsail_netmap::peer::{PeerDiff, compare};
use headsail_policy::{Comparison, Touch};
use headsail_wire::ids::{NodeId, UserId};
use headsail_wire::map::MapResponse;
use headsail_wire::user::UserProfile;

use crate::model::node::Node;
use crate::tailnet::Tailnet;
use crate::{user_names, view};

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
    /// Whether something changed that can affect every row as every viewer sees it.
    wide: bool,
    /// Whether the names of nodes that include their users' names may differ; see [`user_names`].
    names: bool,
    /// The rows that may look different to some viewer, unless `wide` is set.
    touched: Vec<u64>,
}

impl Step {
    pub fn new(then: Arc<Tailnet>, now: Arc<Tailnet>) -> Step {
        let (was, is) = (then.access(), now.access());
        let comparison = (was.stamp() != is.stamp()).then(|| Comparison::new(was.engine(), is.engine()));
        let wide = then.settings().base_domain != now.settings().base_domain || was.epoch() != is.epoch();
        let mut touched = now.nodes.touched_since(&then.nodes);
        let named = |id: &u64| match (then.nodes.get(*id), now.nodes.get(*id)) {
            (Some(was), Some(is)) => !user_names::is_same(was, is),
            _ => true,
        };
        let names = (user_names::are_told(&then) || user_names::are_told(&now))
            && (wide || comparison.is_some() || touched.iter().any(named));
        touched.retain(|id| match (then.nodes.get(*id), now.nodes.get(*id)) {
            (Some(was), Some(is)) => !was.same_to_others(is),
            _ => true,
        });
        touched.extend(is.routers_touched_since(was));
        touched.sort_unstable();
        touched.dedup();
        Step { then, now, comparison, wide, names, touched }
    }

    /// Whether the policy changes. If so, this step keeps both policies in memory.
    pub fn changes_policy(&self) -> bool {
        !Arc::ptr_eq(self.then.access().engine().policy(), self.now.access().engine().policy())
    }

    /// What to send to a viewer. The result equals `diff(project(then), project(now))`, but only rows that differ are compared,
    /// unless the viewer itself or something that affects all viewers has changed.
    pub fn delta(&self, viewer: NodeId) -> Delta {
        let (then, now) = (&*self.then, &*self.now);
        let (Some(was), Some(me)) = (then.node(viewer), now.node(viewer)) else { return Delta::Gone };
        let mut out = MapResponse::default();
        let mut profiles: BTreeMap<UserId, UserProfile> = BTreeMap::new();
        match self.is_wide_for(viewer) {
            true => self.tell_of_peers(was, me, &self.all_rows(), &mut out, &mut profiles),
            false => self.tell_of_peers(was, me, &self.touched, &mut out, &mut profiles),
        }
        self.tell_of_itself(was, me, &mut out, &mut profiles);
        renamed_users(then, now, me, &mut profiles);
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

    fn all_rows(&self) -> Vec<u64> {
        let mut rows: Vec<u64> = self.then.nodes().chain(self.now.nodes()).map(|n| n.id.get()).collect();
        rows.sort_unstable();
        rows.dedup();
        rows
    }

    /// Whether every row may look different to this viewer: something changed that affects all viewers, or the policy knows
    /// something new about this one.
    fn is_wide_for(&self, viewer: NodeId) -> bool {
        let known = |t: &Tailnet| t.access().engine().node(viewer).cloned();
        self.wide || (self.comparison.is_some() && known(&self.then) != known(&self.now))
    }

    fn tell_of_itself(
        &self,
        was: &Node,
        me: &Node,
        out: &mut MapResponse,
        profiles: &mut BTreeMap<UserId, UserProfile>,
    ) {
        let (then, now, touch) = (&*self.then, &*self.now, self.touch(me.id));
        let same_routes = then.access().primary_routes(me.id) == now.access().primary_routes(me.id);
        let same_row = std::ptr::eq(was, me) && Arc::ptr_eq(then.settings(), now.settings());
        if touch.caps || self.names || !same_row {
            out.dns_config = changed(&view::dns(then, was), &view::dns(now, me));
        }
        // The roles of other users decide whether a node belongs to an admin.
        let same_epoch = then.access().epoch() == now.access().epoch();
        if touch.caps || !same_routes || !same_row || !same_epoch {
            let (old, new) = (view::me(then, was), view::me(now, me));
            if old != new {
                if old.user != new.user {
                    profiles.insert(new.user, now.profile(&me.owner));
                }
                out.node = Some(Arc::new(new));
            }
        }
        if !Arc::ptr_eq(then.settings(), now.settings()) {
            out.derp_map = changed(&then.settings().derp, &now.settings().derp);
            if then.settings().base_domain != now.settings().base_domain {
                out.domain = now.settings().base_domain.clone();
            }
        }
        if touch.ssh {
            out.ssh_policy = changed(&view::ssh(then, was), &view::ssh(now, me));
        }
        if touch.filter {
            out.packet_filters = diff_filters(&view::filters(then, was), &view::filters(now, me));
        }
    }

    /// What differs in what the policies say about a viewer.
    fn touch(&self, viewer: NodeId) -> Touch {
        self.comparison.as_ref().map(|c| c.touch(viewer)).unwrap_or_default()
    }

    /// Whether the delta may contain something specific to this viewer: its own row, packet filter, SSH policy or settings.
    /// Otherwise all viewers of its class are sent the same.
    pub fn tells_of_itself(&self, viewer: NodeId) -> bool {
        let (then, now) = (&*self.then, &*self.now);
        let same_row = match (then.node(viewer), now.node(viewer)) {
            (Some(was), Some(me)) => Arc::ptr_eq(was, me),
            _ => false,
        };
        let same_settings = Arc::ptr_eq(then.settings(), now.settings());
        if !same_row || !same_settings || self.names || self.is_wide_for(viewer) {
            return true;
        }
        let touch = self.touch(viewer);
        let same_routes = then.access().primary_routes(viewer) == now.access().primary_routes(viewer);
        touch.caps || touch.ssh || touch.filter || !same_routes
    }
}

/// Adds the profiles of users that were renamed, if the viewer sees one of their nodes.
fn renamed_users(then: &Tailnet, now: &Tailnet, me: &Node, profiles: &mut BTreeMap<UserId, UserProfile>) {
    for id in now.users.touched_since(&then.users) {
        let (Some(old), Some(new)) = (then.users.get(id), now.users.get(id)) else { continue };
        if old.profile() == new.profile() {
            continue;
        }
        let concerns = |n: &Node| n.owner.user() == Some(new.id) && (n.id == me.id || view::sees(now, me, n));
        if now.nodes().any(|n| concerns(n)) {
            profiles.insert(new.id, new.profile());
        }
    }
}
