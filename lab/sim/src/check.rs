//! The checks: whether the invariants hold in the world.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headsail_netmap::apply::apply;
use headsail_netmap::{NetMap, diff};
use headsail_tailnet::change::Change;
use headsail_tailnet::deadline::Deadlines;
use headsail_tailnet::decide::login::MAX_TICKETS_OF_A_MACHINE;
use headsail_tailnet::decide::map_update::MAX_ENDPOINTS;
use headsail_tailnet::delta::Delta;
use headsail_tailnet::feed::News;
use headsail_tailnet::model::name;
use headsail_tailnet::model::node::{Contact, Expiry, Node, Owner, Presence};
use headsail_tailnet::project;
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::ids::NodeId;
use headsail_wire::map::{MapResponse, Node as WireNode};

use crate::law::{Check, Violation, must};
use crate::stream::{difference, fields_apart, over_the_wire};
use crate::world::World;

/// The checks that run after every step.
///
/// # Errors
/// The first one that failed.
pub fn after_step(world: &mut World) -> Result<(), Violation> {
    if world.minds(Check::Told) && world.check_rng.chance(30) {
        any_delta(world)?;
    }
    if world.minds(Check::Committed) {
        committed(world)?;
    }
    if world.minds(Check::Writers) && world.check_rng.chance(10) {
        writers(world)?;
    }
    if world.minds(Check::Visibility) && world.check_rng.chance(20) {
        visibility(world)?;
    }
    if world.minds(Check::Bounds) {
        bounds(world)?;
    }
    if world.minds(Check::Unique) {
        unique(&world.clerk.published)?;
        unchanged_logins(world)?;
    }
    if world.minds(Check::Deadlines) {
        unexpired(world)?;
        if !world.clerk.disk.broken {
            overdue(world)?;
        }
    }
    if world.minds(Check::Presence) && !world.clerk.disk.broken {
        presence(world)?;
    }
    Ok(())
}

/// Sends a frame: applied to the client's map, it must give the projection.
///
/// # Errors
/// The client's map differs from the projection.
pub fn told_is_ought(
    world: &mut World,
    map: &mut Option<NetMap>,
    frame: MapResponse,
    viewer: NodeId,
) -> Result<(), Violation> {
    let check = if map.is_none() { Check::FirstFrame } else { Check::Told };
    let mut frame = frame;
    if world.minds(Check::SameBytes) || world.check_rng.chance(30) {
        let (text, read_back) = over_the_wire(&frame).map_err(|text| Violation { check, text })?;
        if world.minds(Check::SameBytes) {
            world.transcript.push(crate::stream::digest(&text));
        }
        frame = read_back;
    }
    let applied = apply(map, frame);
    if !world.minds(check) {
        return Ok(());
    }
    world.must(check, applied.is_ok(), || format!("node {viewer}: {applied:?}"))?;
    let ought = (world.parts.project)(&world.clerk.published, viewer);
    match (map.as_ref(), &ought) {
        (Some(told), Some(ought)) => match difference(told, ought) {
            None => Ok(()),
            Some(text) => must(check, false, || format!("node {viewer}: {text}")),
        },
        _ => must(check, false, || format!("node {viewer} was told a map that it ought not to have")),
    }
}

/// The delta between two snapshots equals the difference between their projections.
///
/// # Errors
/// They differ.
pub fn delta_is_diff(world: &World, then: &Tailnet, now: &Tailnet, viewer: NodeId) -> Result<(), Violation> {
    let delta = (world.parts.delta)(then, now, viewer);
    let (was, is) = (project::project(then, viewer), project::project(now, viewer));
    let (Some(was), Some(is)) = (was, is) else {
        return must(Check::Told, delta == Delta::Gone, || format!("node {viewer} is gone, but: {delta:?}"));
    };
    let ought = diff::diff(&was, &is).unwrap_or_default();
    let mut said = match delta {
        Delta::Nothing => MapResponse::default(),
        Delta::Frame(frame) => *frame,
        Delta::Gone => return must(Check::Told, false, || format!("node {viewer} exists, but: gone")),
    };
    // A profile may be sent again if it is correct.
    said.user_profiles.retain(|p| ought.user_profiles.contains(p) || is.profiles.get(&p.id) != Some(p));
    must(Check::Told, said == ought, || {
        let policies = (then.policy().map(|p| p.text()), now.policy().map(|p| p.text()));
        let apart = fields_apart(&said, &ought);
        format!("node {viewer}: delta and diff differ: {apart}\nthe policies then and now: {policies:?}")
    })
}

fn any_delta(world: &mut World) -> Result<(), Violation> {
    let now = world.clerk.published.clone();
    let back = world.check_rng.below(world.past.len() as u64) as usize;
    let Some(then) = world.past.get(back).cloned() else { return Ok(()) };
    let viewers: Vec<NodeId> = then.nodes().map(|n| n.id).collect();
    match world.check_rng.pick(&viewers) {
        Some(viewer) => {
            delta_is_diff(world, &then, &now, *viewer)?;
            shared_by_the_class(world, &then, &now, *viewer)
        }
        None => Ok(()),
    }
}

/// A delta without anything specific to its viewer is the same for the whole class, because the server renders it once.
fn shared_by_the_class(
    world: &World,
    then: &Tailnet,
    now: &Tailnet,
    viewer: NodeId,
) -> Result<(), Violation> {
    let class = |id| (then.access().engine().class_of(id), now.access().engine().class_of(id));
    let shares = |id| now.node(id).is_some() && !(world.parts.is_own)(then, now, id);
    if !shares(viewer) {
        return Ok(());
    }
    let said = (world.parts.delta)(then, now, viewer);
    let others = now.nodes().map(|n| n.id).filter(|id| class(*id) == class(viewer) && shares(*id));
    for other in others {
        let same = (world.parts.delta)(then, now, other) == said;
        must(Check::Told, same, || {
            let heard = (world.parts.delta)(then, now, other);
            let policies = (then.policy().map(|p| p.text()), now.policy().map(|p| p.text()));
            format!(
                "nodes {viewer} and {other} share a class, but their deltas differ: {said:?}\n{heard:?}\nthe policies then and now: {policies:?}"
            )
        })?;
    }
    Ok(())
}

/// Rows without the parts that may be published before they are written.
fn durable(rows: Vec<Change>) -> Vec<Change> {
    let strip = |node: &Node| Node {
        // That a key has expired is known without the disk.
        expiry: node.expiry.time().map_or(Expiry::Never, Expiry::At),
        contact: Contact::default(),
        presence: Presence::Offline { since: node.created },
        ..node.clone()
    };
    rows.into_iter()
        .map(|row| match row {
            Change::Node(node) => Change::Node(strip(&node).into()),
            other => other,
        })
        .collect()
}

/// Memory, with what other writers have committed since.
fn caught_up(world: &World) -> Tailnet {
    let mut tailnet = world.clerk.published.clone();
    if world.clerk.disk.revision() > tailnet.revision() {
        tailnet.catch_up(&world.clerk.disk.since(tailnet.revision()));
    }
    tailnet
}

/// Every commit that was acknowledged happened once and in order, and together they give the rows on disk.
///
/// # Errors
/// A commit was lost, or happened twice.
pub fn writers(world: &World) -> Result<(), Violation> {
    let revisions: Vec<u64> = world.ledger.iter().map(|commit| commit.revision.0).collect();
    let in_order = revisions.iter().copied().eq(1..=world.clerk.disk.revision().0);
    must(Check::Writers, in_order, || format!("the commits that were saved are {revisions:?}"))?;
    let mut replayed = Tailnet::empty(world.settings.clone());
    world.ledger.iter().for_each(|commit| replayed.apply_commit(commit));
    let (replayed, disk) = (replayed.dump(), world.clerk.disk.load().changes);
    must(Check::Writers, replayed == disk, || rows_apart(&replayed, &disk))
}

/// After a power cut, every durable commit that was acknowledged is there, and the rows are those of whole commits.
///
/// # Errors
/// What is lost, or there in part.
pub fn after_power_cut(world: &World) -> Result<(), Violation> {
    let disk = &world.clerk.disk;
    let promised = world.ledger.iter().rfind(|commit| commit.is_durable()).map(|commit| commit.revision);
    must(Check::Durable, promised.is_none_or(|promised| promised <= disk.revision()), || {
        format!("revision {promised:?} was acknowledged, but the power cut has left {}", disk.revision())
    })?;
    let mut replayed = Tailnet::empty(world.settings.clone());
    let left = world.ledger.iter().filter(|commit| commit.revision <= disk.revision());
    left.for_each(|commit| replayed.apply_commit(commit));
    let (replayed, rows) = (replayed.dump(), disk.load().changes);
    must(Check::Durable, replayed == rows, || rows_apart(&replayed, &rows))
}

/// The follower reads what it has not read yet, and must then know everything that the clerk knows.
///
/// # Errors
/// It does not.
pub fn follower_reads(world: &mut World) -> Result<(), Violation> {
    let (feed, follower) = (&world.clerk.feed, &mut world.follower);
    match (world.parts.news)(feed, follower.version) {
        News::Commits(commits) => {
            commits.iter().for_each(|commit| follower.tailnet.apply_commit(commit));
        }
        News::Missed => follower.tailnet = (**feed.tailnet()).clone(),
    }
    follower.version = feed.tailnet().version();
    let (knows, ought) = (&world.follower.tailnet, &world.clerk.published);
    world
        .must(Check::Followers, knows.dump() == ought.dump(), || rows_apart(&knows.dump(), &ought.dump()))?;
    let same = knows.settings() == ought.settings()
        && knows.revision() == ought.revision()
        && knows.tickets().eq(ought.tickets())
        && knows.ssh_checks().eq(ought.ssh_checks());
    world.must(Check::Followers, same, || "a follower lacks a row that lives in memory only".into())
}

fn committed(world: &World) -> Result<(), Violation> {
    let memory = durable(caught_up(world).dump());
    let disk = durable(world.clerk.disk.load().changes);
    must(Check::Committed, memory == disk, || rows_apart(&memory, &disk))
}

fn rows_apart(memory: &[Change], disk: &[Change]) -> String {
    let only_in = |a: &[Change], b: &[Change]| -> Vec<Change> {
        a.iter().filter(|row| !b.contains(row)).cloned().collect()
    };
    format!("in memory only: {:?}\non disk only: {:?}", only_in(memory, disk), only_in(disk, memory))
}

/// A tailnet loaded from the rows on disk equals the one in memory. If the process `died`, contacts and presence may be lost.
///
/// # Errors
/// Something would be different after a restart.
pub fn replay(world: &World, died: bool) -> Result<(), Violation> {
    let memory = &caught_up(world);
    let mut replayed = Tailnet::empty(memory.settings().clone());
    replayed.apply(&(world.parts.load)(world.clerk.disk.load().changes));
    if let Some(row) = memory.policy().filter(|row| !row.kept) {
        // The policy is read from its file.
        replayed.apply(&[Change::Policy(row.clone())]);
    }
    let rows = |t: &Tailnet| if died { durable(t.dump()) } else { t.dump() };
    let (kept, read) = (rows(memory), rows(&replayed));
    must(Check::Replay, kept == read, || rows_apart(&kept, &read))?;
    if !died {
        for node in memory.nodes() {
            let view = |t: &Tailnet| project::project(t, node.id).map(without_history);
            let apart = view(memory).zip(view(&replayed)).and_then(|(a, b)| difference(&b, &a));
            must(Check::Replay, apart.is_none(), || format!("after a restart, node {}: {apart:?}", node.id))?;
        }
    }
    unique(&replayed)
        .map_err(|v| Violation { check: Check::Replay, text: format!("after a restart: {}", v.text) })
}

/// Which of several routers is the primary depends on the order in which they came online, and the names of a filter's parts
/// on earlier policies. A restart elects and names again.
fn without_history(mut map: NetMap) -> NetMap {
    let parts = std::mem::take(&mut map.filters).into_values();
    map.filters = parts.enumerate().map(|(i, rules)| (format!("{i:04}"), rules)).collect();
    let strip = |node: &Arc<WireNode>| {
        Arc::new(WireNode {
            allowed_ips: node.addresses.clone(),
            primary_routes: Vec::new(),
            ..WireNode::clone(node)
        })
    };
    map.me = strip(&map.me);
    map.peers.values_mut().for_each(|peer| *peer = strip(peer));
    map
}

fn visibility(world: &World) -> Result<(), Violation> {
    let t = &world.clerk.published;
    let sees: BTreeMap<NodeId, BTreeSet<NodeId>> = t
        .nodes()
        .filter_map(|n| (world.parts.project)(t, n.id).map(|map| (n.id, map.peers.keys().copied().collect())))
        .collect();
    for (viewer, peers) in &sees {
        must(Check::Visibility, !peers.contains(viewer), || format!("node {viewer} is its own peer"))?;
        let expired = |id: &NodeId| t.node(*id).is_some_and(|n| n.expiry.is_past());
        must(Check::Visibility, !expired(viewer) || peers.is_empty(), || {
            format!("node {viewer} has expired, but sees others")
        })?;
        for peer in peers.iter().filter(|peer| !expired(peer)) {
            must(Check::Visibility, sees.get(peer).is_some_and(|back| back.contains(viewer)), || {
                format!("node {viewer} sees node {peer}, but not the other way round")
            })?;
        }
    }
    Ok(())
}

/// The limits that histories reach. Larger tables have their own tests in core, named `i9_…`.
fn bounds(world: &World) -> Result<(), Violation> {
    let t = &world.clerk.published;
    let tickets = t.tickets().count();
    must(Check::Bounds, tickets <= t.settings().max_tickets, || format!("there are {tickets} logins"))?;
    for machine in &world.machines {
        let own = t.tickets().filter(|k| k.asking.machine_key == machine.key).count();
        must(Check::Bounds, own <= MAX_TICKETS_OF_A_MACHINE, || {
            format!("machine {:?} has {own} logins", machine.key)
        })?;
    }
    for node in t.nodes() {
        let endpoints = node.contact.endpoints.len();
        must(Check::Bounds, endpoints <= MAX_ENDPOINTS, || {
            format!("node {} has {endpoints} endpoints", node.id)
        })?;
    }
    Ok(())
}

/// What a person has seen under the id of a login is what the id stands for until it is gone.
fn unchanged_logins(world: &World) -> Result<(), Violation> {
    let (now, then) = (&world.clerk.published, world.past.back());
    for seen in then.into_iter().flat_map(Tailnet::tickets) {
        let same = now.ticket(&seen.id).is_none_or(|k| k.asking == seen.asking);
        must(Check::Unique, same, || format!("login `{}` asks for something else now", seen.id))?;
    }
    Ok(())
}

fn unique(t: &Tailnet) -> Result<(), Violation> {
    let found = |node: &Node, by: &str, hit: Option<&Arc<Node>>| {
        must(Check::Unique, hit.is_some_and(|hit| hit.id == node.id), || {
            format!("looking up node {} by its {by} finds {:?}", node.id, hit.map(|n| n.id))
        })
    };
    for node in t.nodes() {
        found(node, "name", t.node_by_name(&node.name))?;
        found(node, "node key", t.node_by_key(&node.node_key))?;
        for ip in node.ips() {
            found(node, "address", t.node_by_ip(ip))?;
        }
        must(
            Check::Unique,
            t.nodes_of_machine(&node.machine_key).filter(|n| n.id == node.id).count() == 1,
            || format!("node {} is not listed exactly once for its machine", node.id),
        )?;
        must(Check::Unique, node.ips().next().is_some(), || format!("node {} has no address", node.id))?;
        name::check(&node.name).map_err(|text| Violation { check: Check::Unique, text })?;
        if let Owner::User(user) = node.owner {
            must(Check::Unique, t.user(user).is_some(), || format!("node {} has no owner", node.id))?;
        }
        if let Some(key) = node.auth_key {
            must(Check::Unique, t.auth_key(key).is_some(), || {
                format!("node {} refers to pre-auth key {key}, which was deleted", node.id)
            })?;
        }
        must(Check::Unique, t.tombstone(&node.node_key).is_none(), || {
            format!("node {} exists, but has a tombstone", node.id)
        })?;
    }
    let names: BTreeSet<&str> = t.users().map(|u| u.name.as_str()).collect();
    must(Check::Unique, names.len() == t.users().count(), || "two users have the same name".into())?;
    for key in t.auth_keys() {
        let owned = key.user.is_none_or(|user| t.user(user).is_some());
        must(Check::Unique, owned, || format!("the owner of pre-auth key {} does not exist", key.id))?;
    }
    Ok(())
}

/// Keys expire in time, whatever the disk does.
fn unexpired(world: &World) -> Result<(), Violation> {
    let now = world.clerk.now;
    let late = world.clerk.published.nodes().find(|node| matches!(node.expiry, Expiry::At(at) if at <= now));
    must(Check::Deadlines, late.is_none(), || {
        format!("node {:?} should have expired at {now}", late.map(|node| node.id))
    })
}

fn overdue(world: &World) -> Result<(), Violation> {
    let (t, now) = (&world.clerk.published, world.clerk.now);
    for node in t.nodes() {
        let text = || format!("node {} is overdue at {now}: {:?} {:?}", node.id, node.expiry, node.presence);
        let left = match node.presence {
            Presence::Lingering { until, .. } => until <= now,
            Presence::Offline { since } => {
                node.ephemeral && since.plus_secs(t.settings().ephemeral_timeout) <= now
            }
            Presence::Online { .. } => false,
        };
        must(Check::Deadlines, !left, text)?;
    }
    let late = t.tickets().find(|ticket| ticket.until <= now);
    must(Check::Deadlines, late.is_none(), || {
        format!("login {:?} should have been deleted", late.map(|k| &k.id))
    })?;
    let late = t.ssh_checks().find(|check| check.until <= now);
    must(Check::Deadlines, late.is_none(), || {
        format!("check {:?} should have been deleted", late.map(|c| &c.id))
    })?;
    let (kept, fresh) = (world.clerk.deadlines.deadline(), Deadlines::of(t).deadline());
    must(Check::Deadlines, kept == fresh, || {
        format!("the clerk sleeps until {kept:?}, but the next deadline is {fresh:?}")
    })
}

fn presence(world: &World) -> Result<(), Violation> {
    let t = &world.clerk.published;
    for node in t.nodes() {
        let newest = world.streams.iter().find(|s| s.node == node.id && !s.superseded).map(|s| s.no);
        let true_to_it = match node.presence {
            Presence::Online { stream, .. } => newest == Some(stream),
            Presence::Lingering { until, .. } => newest.is_none() && until > world.clerk.now,
            Presence::Offline { .. } => newest.is_none(),
        };
        must(Check::Presence, true_to_it, || {
            format!("node {} is {:?}, but its newest stream is {newest:?}", node.id, node.presence)
        })?;
    }
    Ok(())
}
