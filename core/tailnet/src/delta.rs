//! What a viewer that was told `then` must be told to know `now`, from the rows that were touched.

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

/// What there is to say.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    /// Nothing.
    Nothing,
    /// This.
    Frame(Box<MapResponse>),
    /// The viewer is gone.
    Gone,
}

/// The way from one snapshot to another, with what is the same for everyone who goes it found once.
pub struct Step {
    then: Arc<Tailnet>,
    now: Arc<Tailnet>,
    /// What the policy says of nodes, compared; `None` where nothing of it differs.
    comparison: Option<Comparison>,
    /// Whether something changed on which everything depends that anybody is told.
    wide: bool,
    /// Whether the names of nodes with their users' may differ; see [`user_names`].
    names: bool,
    /// The rows of which somebody may be told something else, where `wide` does not hold.
    touched: Vec<u64>,
}

impl Step {
    /// Compares two snapshots.
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

    /// Whether another policy holds at the end: then both are in memory for as long as this step is.
    pub fn changes_policy(&self) -> bool {
        !Arc::ptr_eq(self.then.access().engine().policy(), self.now.access().engine().policy())
    }

    /// What a viewer must be told: says the same as `diff(project(then), project(now))`, and looks only at rows that differ,
    /// unless the viewer itself or something that concerns everyone has changed.
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

    /// Whether anything may differ that the viewer is told: because of everyone, or because the policy knows something
    /// else of the viewer.
    fn is_wide_for(&self, viewer: NodeId) -> bool {
        let known = |t: &Tailnet| t.access().engine().node(viewer).cloned();
        self.wide
            || self.turns_expired(viewer)
            || (self.comparison.is_some() && known(&self.then) != known(&self.now))
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
        // Roles of others decide whether a node is an admin's.
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
        let turned = self.turns_expired(me.id);
        if touch.ssh || turned {
            out.ssh_policy = changed(&view::ssh(then, was), &view::ssh(now, me));
        }
        if touch.filter || turned {
            out.packet_filters = diff_filters(&view::filters(then, was), &view::filters(now, me));
        }
    }

    /// What the policy says of a viewer, compared.
    fn touch(&self, viewer: NodeId) -> Touch {
        self.comparison.as_ref().map(|c| c.touch(viewer)).unwrap_or_default()
    }

    /// Whether a delta may say something that concerns this viewer alone: its row, its filter, its SSH policy, or what
    /// the configuration makes of it. Where it doesn't, all viewers of its class are told the same.
    pub fn tells_of_itself(&self, viewer: NodeId) -> bool {
        let (then, now) = (&*self.then, &*self.now);
        let same_row = match (then.node(viewer), now.node(viewer)) {
            // A node whose login has expired is told nothing of others, unlike those of its class.
            (Some(was), Some(me)) => Arc::ptr_eq(was, me) && view::is_shown_others(me),
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

/// Users that got another name, as far as the viewer sees a node of theirs.
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
