//! What a viewer that was told `then` must be told to know `now`, from the rows that were touched.

use std::collections::BTreeMap;
use std::sync::Arc;

use headsail_netmap::diff::{changed, diff_filters};
use headsail_netmap::peer::{PeerDiff, compare};
use headsail_policy::{Engine, Touch};
use headsail_wire::ids::{NodeId, UserId};
use headsail_wire::map::MapResponse;
use headsail_wire::user::UserProfile;

use crate::model::node::Node;
use crate::tailnet::Tailnet;
use crate::view;

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

/// Says the same as `diff(project(then), project(now))`, and looks only at rows that differ, unless the viewer itself
/// or something that concerns everyone has changed.
pub fn delta(then: &Tailnet, now: &Tailnet, viewer: NodeId) -> Delta {
    let (Some(was), Some(me)) = (then.node(viewer), now.node(viewer)) else { return Delta::Gone };
    let mut out = MapResponse::default();
    let mut profiles: BTreeMap<UserId, UserProfile> = BTreeMap::new();
    for id in to_look_at(then, now, viewer) {
        let old = then.nodes.get(id).and_then(|n| view::peer(then, was, n));
        let row = now.nodes.get(id);
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
    tell_of_itself(then, now, was, me, &mut out, &mut profiles);
    renamed_users(then, now, me, &mut profiles);
    out.user_profiles = profiles.into_values().collect();
    if out == MapResponse::default() { Delta::Nothing } else { Delta::Frame(Box::new(out)) }
}

/// The rows of which the viewer may be told something else: all, or those that were touched.
fn to_look_at(then: &Tailnet, now: &Tailnet, viewer: NodeId) -> Vec<u64> {
    let mut rows: Vec<u64> = if is_wide(then, now, viewer) {
        then.nodes().chain(now.nodes()).map(|n| n.id.get()).collect()
    } else {
        let routers = now.access().routers_touched_since(then.access());
        now.nodes.touched_since(&then.nodes).into_iter().chain(routers).collect()
    };
    rows.sort_unstable();
    rows.dedup();
    rows
}

/// Whether something changed on which everything depends that the viewer is told: the policy, or what the policy knows of
/// the viewer.
fn is_wide(then: &Tailnet, now: &Tailnet, viewer: NodeId) -> bool {
    then.settings().base_domain != now.settings().base_domain
        || then.access().epoch() != now.access().epoch()
        || then.access().engine().node(viewer) != now.access().engine().node(viewer)
}

/// What the policy says of a viewer, compared.
fn touch(then: &Tailnet, now: &Tailnet, viewer: NodeId) -> Touch {
    if then.access().stamp() == now.access().stamp() {
        return Touch::default();
    }
    let (was, is) = (then.access().engine(), now.access().engine());
    let touch = Engine::changed(was, is, viewer);
    // The parts of a filter are named by the rules that they come from: under another policy, or in another class, the
    // same filter may have other names, and the client must not keep the old ones beside them.
    let names = !Arc::ptr_eq(was.policy(), is.policy()) || was.class_of(viewer) != is.class_of(viewer);
    Touch { filter: touch.filter || names, ..touch }
}

/// Whether a delta may say something that concerns this viewer alone: its row, its filter, its SSH policy, or what the
/// configuration makes of it. Where it doesn't, all viewers of its class are told the same.
pub fn tells_of_itself(then: &Tailnet, now: &Tailnet, viewer: NodeId) -> bool {
    let same_row = match (then.node(viewer), now.node(viewer)) {
        (Some(was), Some(me)) => Arc::ptr_eq(was, me),
        _ => false,
    };
    let touch = touch(then, now, viewer);
    !same_row
        || !Arc::ptr_eq(then.settings(), now.settings())
        || touch.caps
        || touch.ssh
        || touch.filter
        || is_wide(then, now, viewer)
        || then.access().primary_routes(viewer) != now.access().primary_routes(viewer)
}

fn tell_of_itself(
    then: &Tailnet,
    now: &Tailnet,
    was: &Node,
    me: &Node,
    out: &mut MapResponse,
    profiles: &mut BTreeMap<UserId, UserProfile>,
) {
    let touch = touch(then, now, me.id);
    let same_routes = then.access().primary_routes(me.id) == now.access().primary_routes(me.id);
    let same_row = std::ptr::eq(was, me) && Arc::ptr_eq(then.settings(), now.settings());
    if touch.caps || !same_row {
        out.dns_config = changed(&view::dns(then, was), &view::dns(now, me));
    }
    if touch.caps || !same_routes || !same_row {
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
