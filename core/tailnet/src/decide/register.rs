//! A machine registers: with a pre-auth key, with a login, to refresh its node, as a different user, or to log out.

use std::sync::Arc;

use headsail_wire::ids::AuthKeyId;
use headsail_wire::time::Time;

use crate::change::Change;
use crate::command::{Env, Registration, Rejection, ShownKey};
use crate::decide::departure::{alive, bury};
use crate::decide::entry::{Entry, admit, tags_refused};
use crate::decide::host::take_hostinfo;
use crate::decide::login;
use crate::model::key::{AuthKey, KeyDigest, KeyRefusal};
use crate::model::node::{Expiry, Node, Owner, RegisterMethod, Tags};
use crate::tailnet::Tailnet;

pub(super) fn register(t: &Tailnet, r: &Registration, env: &mut Env<'_>) -> Result<Vec<Change>, Rejection> {
    if !r.cap.is_supported() {
        return Err(Rejection::TooOld(r.cap));
    }
    if r.node_key.is_zero() {
        return Err(Rejection::Invalid("the node key is missing".into()));
    }
    let known = t.node_by_key(&r.node_key);
    if known.is_some_and(|n| n.machine_key != r.machine_key) {
        return Err(Rejection::Foreign);
    }
    if let Some(at) = r.expiry
        && at <= env.now
    {
        return Ok(known.map_or_else(Vec::new, |node| log_out(t, node, env.now)));
    }
    match (known, &r.auth_key) {
        (Some(node), _) if !node.expiry.is_past() => Ok(refresh(t, node, r, env.now)),
        (_, ShownKey::Key { prefix, digest }) => with_key(t, r, prefix, digest, env),
        (_, ShownKey::Unreadable) => Err(unknown_key()),
        (Some(_), ShownKey::None) => Err(Rejection::KeyExpired),
        (None, ShownKey::None) => login::ask(t, r, env),
    }
}

/// Logs a node out: an ephemeral node is deleted, any other node expires immediately.
fn log_out(t: &Tailnet, node: &Arc<Node>, now: Time) -> Vec<Change> {
    if node.ephemeral {
        return bury(t, node, now);
    }
    if node.expiry.is_past() {
        return Vec::new();
    }
    vec![Change::Node(Arc::new(Node { expiry: Expiry::Passed(now), ..Node::clone(node) }))]
}

/// A registered node registers again, as clients do at every start. It may bring its expiry forward. Its key, owner and
/// tags do not change, and no pre-auth key is used up.
fn refresh(t: &Tailnet, node: &Arc<Node>, r: &Registration, now: Time) -> Vec<Change> {
    let mut next = Node::clone(node);
    if let Some(at) = r.expiry
        && next.expiry.time().is_none_or(|end| at < end)
        && node.owner.user().is_some()
    {
        next.expiry = Expiry::At(at);
    }
    next.cap = r.cap;
    take_hostinfo(t, &mut next, &r.hostinfo);
    let mut changes = if next == **node { Vec::new() } else { vec![Change::Node(Arc::new(next))] };
    changes.extend(alive(node, now).map(|presence| Change::Presence(node.id, presence)));
    changes
}

/// The text is that of Headscale, and its users and tools rely on it.
fn unknown_key() -> Rejection {
    Rejection::Refused("invalid pre auth key".into())
}

fn with_key(
    t: &Tailnet,
    r: &Registration,
    prefix: &str,
    digest: &KeyDigest,
    env: &mut Env<'_>,
) -> Result<Vec<Change>, Rejection> {
    let key = t.auth_key_by_prefix(prefix).filter(|k| k.digest == *digest).ok_or_else(unknown_key)?;
    let came_with_it = node_of_key(t, r, key.id);
    match key.check(env.now) {
        Ok(()) => {}
        // A machine may use its pre-auth key again, because a container that restarts has nothing else, but not to come
        // back after it was logged out or expired.
        Err(KeyRefusal::Used) if came_with_it.is_some_and(|n| !n.expiry.is_past()) => {}
        Err(refusal) => return Err(Rejection::Refused(refusal.text().into())),
    }
    let foreign: Vec<String> =
        r.hostinfo.request_tags.iter().filter(|t| !key.tags.contains(*t)).cloned().collect();
    if !foreign.is_empty() {
        return Err(tags_refused(&foreign));
    }
    let owner = match came_with_it.map(|n| &n.owner) {
        // Keep the tags that an administrator has set since then. A different pre-auth key would replace them.
        Some(tagged @ Owner::Tags(_)) => tagged.clone(),
        _ => owner_by_key(key)?,
    };
    let entry = Entry {
        comes_back_as: came_with_it,
        machine_key: r.machine_key,
        node_key: r.node_key,
        old_node_key: r.old_node_key,
        hostinfo: &r.hostinfo,
        cap: r.cap,
        owner,
        ephemeral: key.ephemeral || r.ephemeral,
        expiry: r.expiry,
        method: RegisterMethod::AuthKey,
        auth_key: Some(key.id),
    };
    let mut changes = admit(t, entry, env)?;
    if !key.used {
        changes.push(Change::AuthKey(Arc::new(AuthKey { used: true, ..AuthKey::clone(key) })));
    }
    Ok(changes)
}

/// The node of this machine that registered with a pre-auth key. If there are several, the one with the request's node
/// key, if any, wins.
fn node_of_key<'a>(t: &'a Tailnet, r: &Registration, key: AuthKeyId) -> Option<&'a Arc<Node>> {
    let all = || t.nodes_of_machine(&r.machine_key).filter(|n| n.auth_key == Some(key));
    all().find(|n| [r.node_key, r.old_node_key].contains(&n.node_key)).or_else(|| all().next())
}

fn owner_by_key(key: &AuthKey) -> Result<Owner, Rejection> {
    match (Tags::new(key.tags.clone()), key.user) {
        (Some(tags), _) => Ok(Owner::Tags(tags)),
        (None, Some(user)) => Ok(Owner::User(user)),
        (None, None) => Err(unknown_key()),
    }
}
