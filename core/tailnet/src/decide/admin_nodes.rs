//! Changes of nodes by an administrator.

use std::collections::BTreeSet;
use std::sync::Arc;

use headsail_wire::ids::NodeId;
use headsail_wire::time::Time;
use ipnet::IpNet;

use crate::change::Change;
use crate::command::{Env, Rejection};
use crate::decide::departure::bury;
use crate::decide::entry::addresses;
use crate::decide::policy;
use crate::model::name;
use crate::model::node::{Expiry, Node, Owner, Tags, with_both_defaults};
use crate::tailnet::Tailnet;

fn known(t: &Tailnet, id: NodeId) -> Result<&Arc<Node>, Rejection> {
    t.node(id).ok_or_else(|| Rejection::no_node(id))
}

fn edited(node: &Arc<Node>, edit: impl FnOnce(&mut Node)) -> Vec<Change> {
    let mut next = Node::clone(node);
    edit(&mut next);
    if next == **node { Vec::new() } else { vec![Change::Node(Arc::new(next))] }
}

pub(super) fn rename(t: &Tailnet, id: NodeId, label: &str) -> Result<Vec<Change>, Rejection> {
    let node = known(t, id)?;
    name::check(label).map_err(Rejection::Invalid)?;
    if t.node_by_name(label).is_some_and(|other| other.id != id) {
        return Err(Rejection::Conflict(format!(
            "the name `{label}` is taken by another node; choose a different one"
        )));
    }
    if node.name != label && t.settings().has_record(label) {
        return Err(Rejection::Conflict(format!(
            "the name `{label}` belongs to an extra DNS record; choose a different one"
        )));
    }
    Ok(edited(node, |n| {
        n.name = label.to_owned();
        n.name_pinned = true;
    }))
}

pub(super) fn expire(t: &Tailnet, id: NodeId, at: Option<Time>, now: Time) -> Result<Vec<Change>, Rejection> {
    let node = known(t, id)?;
    Ok(edited(node, |n| n.expiry = Expiry::from_time(at, now)))
}

pub(super) fn delete(t: &Tailnet, id: NodeId, now: Time) -> Result<Vec<Change>, Rejection> {
    let node = known(t, id)?;
    Ok(bury(t, node, now))
}

/// Checks a tag by the same rules as the policy.
pub(super) fn check_tag(tag: &str) -> Result<(), Rejection> {
    headsail_policy::check_tag(tag).map_err(|why| {
        Rejection::Invalid(format!("`{tag}` is not a valid tag: {why}; write it as `tag:name`"))
    })
}

pub(super) fn tag(t: &Tailnet, id: NodeId, tags: &BTreeSet<String>) -> Result<Vec<Change>, Rejection> {
    let node = known(t, id)?;
    for tag in tags {
        check_tag(tag)?;
        if !t.access().engine().tag_exists(tag) {
            return Err(Rejection::Invalid(format!(
                "requested tags [{tag}] are invalid or not permitted: add `{tag}` to `tagOwners` in the policy first"
            )));
        }
    }
    let tags = Tags::new(tags.clone()).ok_or_else(|| {
        Rejection::Invalid("cannot remove all tags from a node; log it in again as a user instead".into())
    })?;
    Ok(edited(node, |n| {
        if n.owner.user().is_some() {
            n.expiry = Expiry::Never;
        }
        n.owner = Owner::Tags(tags);
        policy::auto_approve(t, n);
    }))
}

pub(super) fn approve_routes(
    t: &Tailnet,
    id: NodeId,
    routes: &BTreeSet<IpNet>,
) -> Result<Vec<Change>, Rejection> {
    let node = known(t, id)?;
    let routes = with_both_defaults(routes.iter().map(IpNet::trunc).collect());
    Ok(edited(node, |n| n.approved_routes = routes))
}

/// Approves some routes and withdraws the approval of others. All other routes stay as they are, so that two administrators
/// who edit at the same time do not undo each other's changes.
pub(super) fn edit_routes(
    t: &Tailnet,
    id: NodeId,
    approve: &BTreeSet<IpNet>,
    withdraw: &BTreeSet<IpNet>,
) -> Result<Vec<Change>, Rejection> {
    let node = known(t, id)?;
    let masked = |routes: &BTreeSet<IpNet>| with_both_defaults(routes.iter().map(IpNet::trunc).collect());
    let (approve, withdraw) = (masked(approve), masked(withdraw));
    Ok(edited(node, |n| {
        n.approved_routes = n.approved_routes.difference(&withdraw).copied().chain(approve).collect();
    }))
}

pub(super) fn backfill_ips(t: &Tailnet, env: &mut Env<'_>) -> Result<Vec<Change>, Rejection> {
    let mut next = t.clone();
    let mut changes = Vec::new();
    for node in t.nodes() {
        let settings = t.settings();
        let (wants_v4, wants_v6) = (settings.v4.is_some(), settings.v6.is_some());
        let (v4, v6) =
            addresses(&next, env, &node.owner, wants_v4 && node.v4.is_none(), wants_v6 && node.v6.is_none())?;
        let edit = edited(node, |n| {
            n.v4 = n.v4.filter(|_| wants_v4).or(v4);
            n.v6 = n.v6.filter(|_| wants_v6).or(v6);
        });
        next.apply(&edit);
        changes.extend(edit);
    }
    Ok(changes)
}
