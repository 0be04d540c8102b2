//! Admits a machine that was authorised, as one of its existing nodes or as a new node.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use headsail_wire::capver::CapVer;
use headsail_wire::hostinfo::Hostinfo;
use headsail_wire::ids::{AuthKeyId, NodeId};
use headsail_wire::keys::{MachineKey, NodeKey};
use headsail_wire::time::Time;

use crate::change::{Change, Sequence};
use crate::command::{Env, Rejection};
use crate::decide::departure::alive;
use crate::decide::host::{take_hostinfo, take_strangers_hostinfo};
use crate::model::alloc::{self, Search};
use crate::model::name;
use crate::model::node::{Contact, Expiry, Node, Owner, Presence, RegisterMethod};
use crate::model::settings::Allocation;
use crate::tailnet::Tailnet;

/// The rejection of tags that a node may not have. Users and tools rely on the text.
pub(super) fn tags_refused(tags: &[String]) -> Rejection {
    Rejection::Refused(format!("requested tags [{}] are invalid or not permitted", tags.join(" ")))
}

/// A machine that was authorised.
pub(super) struct Entry<'a> {
    /// The node that the machine returns to, if that is known already.
    pub comes_back_as: Option<&'a Arc<Node>>,
    pub machine_key: MachineKey,
    pub node_key: NodeKey,
    pub old_node_key: NodeKey,
    pub hostinfo: &'a Hostinfo,
    pub cap: CapVer,
    pub owner: Owner,
    pub ephemeral: bool,
    pub expiry: Option<Time>,
    pub method: RegisterMethod,
    pub auth_key: Option<AuthKeyId>,
}

/// Admits a machine as the node that it already has with this owner, or as a new one.
///
/// # Errors
/// The node key belongs to another node, or there is no room for a new node.
pub(super) fn admit(t: &Tailnet, e: Entry<'_>, env: &mut Env<'_>) -> Result<Vec<Change>, Rejection> {
    let expiry = match &e.owner {
        Owner::Tags(_) => Expiry::Never,
        Owner::User(_) => {
            let by_rule = t.settings().node_expiry.map(|secs| env.now.plus_secs(secs));
            Expiry::from_time([e.expiry, by_rule].into_iter().flatten().min(), env.now)
        }
    };
    let mut changes = Vec::new();
    let mut node = match e.comes_back_as.or_else(|| same_node(t, &e)) {
        Some(node) => Node::clone(node),
        None => new_node(t, &e, env)?,
    };
    match t.node_by_key(&e.node_key) {
        Some(holder) if holder.machine_key != e.machine_key => return Err(Rejection::Foreign),
        // The machine has logged out and now logs in as a different owner with the same key. Its old node stays with its
        // owner and gets a key that nobody has. This is only possible if the old node has the lower id: clients process
        // nodes by id, and fail if a node gets a key before they have processed the node that gives it up.
        Some(holder) if holder.expiry.is_past() && holder.id < node.id => {
            let node_key = NodeKey::from_bytes(env.random());
            changes.push(Change::Node(Arc::new(Node { node_key, ..Node::clone(holder) })));
        }
        // Another node of this machine has the key: to log in as a different owner, the client must create a new one.
        Some(holder) if holder.id != node.id => return Err(Rejection::KeyExpired),
        _ => {}
    }
    node.node_key = e.node_key;
    node.owner = e.owner;
    node.cap = e.cap;
    node.expiry = expiry;
    node.ephemeral = e.ephemeral;
    node.method = e.method;
    node.auth_key = e.auth_key;
    node.presence = alive(&node, env.now).unwrap_or(node.presence);
    match e.method {
        RegisterMethod::AuthKey => take_hostinfo(t, &mut node, e.hostinfo),
        RegisterMethod::Cli | RegisterMethod::Oidc => take_strangers_hostinfo(t, &mut node, e.hostinfo),
    }
    if t.tombstone(&node.node_key).is_some() {
        changes.push(Change::TombstoneGone(node.node_key));
    }
    changes.push(Change::Node(Arc::new(node)));
    Ok(changes)
}

/// The node that a machine returns to: the one whose key it has or had, if the owner is the same; otherwise its node with
/// that owner. A machine that logs in as a different owner gets a different node.
fn same_node<'a>(t: &'a Tailnet, e: &Entry<'_>) -> Option<&'a Arc<Node>> {
    let fits = |node: &&Arc<Node>| match (&node.owner, &e.owner) {
        (Owner::User(a), Owner::User(b)) => a == b,
        (Owner::Tags(_), Owner::Tags(_)) => true,
        // A machine that knows the node's key may turn the node into a tagged one, or back into a user's.
        (Owner::User(_), Owner::Tags(_)) | (Owner::Tags(_), Owner::User(_)) => {
            node.node_key == e.old_node_key || node.node_key == e.node_key
        }
    };
    let exact = [e.node_key, e.old_node_key].into_iter().find_map(|key| t.node_by_key(&key));
    exact
        .filter(|n| n.machine_key == e.machine_key)
        .filter(fits)
        .or_else(|| t.nodes_of_machine(&e.machine_key).find(fits))
}

fn new_node(t: &Tailnet, e: &Entry<'_>, env: &mut Env<'_>) -> Result<Node, Rejection> {
    let id = NodeId::new(t.next_id(Sequence::Nodes))
        .ok_or_else(|| Rejection::Full("no more node ids are available".into()))?;
    let (v4, v6) = addresses(t, env, &e.owner, true, true)?;
    let label = name::label_of(&e.hostinfo.hostname);
    Ok(Node {
        id,
        machine_key: e.machine_key,
        node_key: e.node_key,
        owner: e.owner.clone(),
        hostname: e.hostinfo.hostname.clone(),
        name: name::unique(&label, |n| !t.is_name_free(n, None)),
        name_pinned: false,
        v4,
        v6,
        hostinfo: Arc::default(),
        cap: e.cap,
        contact: Contact::default(),
        presence: Presence::Offline { since: env.now },
        expiry: Expiry::Never,
        ephemeral: e.ephemeral,
        method: e.method,
        auth_key: e.auth_key,
        approved_routes: BTreeSet::new(),
        created: env.now,
    })
}

/// Free addresses in the configured prefixes, or in the address pool that the policy defines for the owner.
pub(super) fn addresses(
    t: &Tailnet,
    env: &mut Env<'_>,
    owner: &Owner,
    want_v4: bool,
    want_v6: bool,
) -> Result<(Option<std::net::Ipv4Addr>, Option<std::net::Ipv6Addr>), Rejection> {
    let settings = t.settings();
    let (highest_v4, highest_v6) = t.highest_addresses();
    let taken = |ip: IpAddr| t.is_taken(ip);
    let full = |net: String| {
        Rejection::Full(format!("prefix `{net}` has no free addresses; configure a larger prefix"))
    };
    let mut draw = || u128::from_le_bytes(env.random());
    let mut random: Option<&mut dyn FnMut() -> u128> = match settings.allocation {
        Allocation::Sequential => None,
        Allocation::Random => Some(&mut draw),
    };
    let pool = t.access().ip_pool(owner).filter(|_| settings.v4.is_some());
    let v4 = match pool.or(settings.v4).filter(|_| want_v4) {
        None => None,
        Some(net) => {
            let search = Search { after: highest_v4, taken: &taken, random: reborrow(&mut random) };
            Some(alloc::v4(net, search).ok_or_else(|| full(net.to_string()))?)
        }
    };
    let v6 = match settings.v6.filter(|_| want_v6) {
        None => None,
        Some(net) => {
            let search = Search { after: highest_v6, taken: &taken, random: reborrow(&mut random) };
            Some(alloc::v6(net, search).ok_or_else(|| full(net.to_string()))?)
        }
    };
    Ok((v4, v6))
}

fn reborrow<'a>(random: &'a mut Option<&mut dyn FnMut() -> u128>) -> Option<&'a mut dyn FnMut() -> u128> {
    match random {
        Some(draw) => Some(&mut **draw),
        None => None,
    }
}
