//! What administrators do.

use std::collections::BTreeSet;

use headsail_policy::Role;
use headsail_tailnet::batch::Outcome;
use headsail_tailnet::command::{Command, NewAuthKey, NewUser};
use headsail_tailnet::model::key::{API_KEY_PREFIX, AUTH_KEY_PREFIX, mint};
use headsail_tailnet::model::ticket::TicketState;
use headsail_wire::ids::{ApiKeyId, AuthKeyId, NodeId, UserId};
use ipnet::IpNet;

use crate::law::Violation;
use crate::world::World;
use headsail_tailnet::actor::Actor;

type Checked = Result<(), Violation>;

fn command(world: &mut World, command: Command) -> Checked {
    world.ask(Actor::Server, command).map(drop)
}

fn user_name(world: &mut World) -> String {
    let names = ["alice", "bob", "carol", "dave", "eve", "x", "alice@example.com"];
    world.rng.pick(&names).copied().unwrap_or_default().to_owned()
}

fn any_user(world: &mut World) -> Option<UserId> {
    let all: Vec<UserId> = world.clerk.published.users().map(|u| u.id).collect();
    world.rng.pick(&all).copied()
}

fn any_node(world: &mut World) -> Option<NodeId> {
    let all: Vec<NodeId> = world.clerk.published.nodes().map(|n| n.id).collect();
    world.rng.pick(&all).copied()
}

fn tags(world: &mut World) -> BTreeSet<String> {
    let all = ["tag:web", "tag:db", "tag:ci"];
    all.iter().filter(|_| world.rng.chance(40)).map(|tag| (*tag).to_owned()).collect()
}

pub fn create_user(world: &mut World) -> Checked {
    let name = user_name(world);
    command(world, Command::CreateUser(NewUser { name, ..NewUser::default() }))
}

pub fn rename_user(world: &mut World) -> Checked {
    let name = user_name(world);
    match any_user(world) {
        Some(user) => command(world, Command::RenameUser { user, name }),
        None => create_user(world),
    }
}

/// A user gets a role: half of the time, that of a member.
pub fn set_role(world: &mut World) -> Checked {
    let wanted = if world.rng.chance(50) { world.rng.pick(&Role::ALL).copied() } else { None };
    let role = wanted.unwrap_or_default();
    any_user(world).map_or(Ok(()), |user| command(world, Command::SetRole { user, role }))
}

/// Deletes a user, unless it owns nodes.
pub fn delete_user(world: &mut World) -> Checked {
    any_user(world).map_or(Ok(()), |user| command(world, Command::DestroyUser(user)))
}

/// Creates a pre-auth key of any kind.
pub fn create_key(world: &mut World) -> Checked {
    if any_user(world).is_none() {
        create_user(world)?;
    }
    let key = mint(AUTH_KEY_PREFIX, &world.rng.bytes());
    let tags = if world.rng.chance(35) { tags(world) } else { BTreeSet::new() };
    let user = any_user(world).filter(|_| tags.is_empty() || world.rng.chance(50));
    let expires = world.rng.chance(30).then(|| world.clerk.now.plus_secs(world.rng.below(5000) as i64));
    let new = NewAuthKey {
        prefix: key.prefix.clone(),
        digest: key.digest,
        user,
        tags,
        reusable: world.rng.chance(70),
        ephemeral: world.rng.chance(20),
        expiration: expires,
    };
    if world.ask(Actor::Server, Command::CreateAuthKey(Box::new(new)))? == Outcome::Done {
        world.shown_keys.push((key.prefix, key.digest));
    }
    Ok(())
}

/// A pre-auth key is revoked or deleted. Clients keep sending it.
pub fn expire_or_delete_key(world: &mut World) -> Checked {
    let all: Vec<AuthKeyId> = world.clerk.published.auth_keys().map(|k| k.id).collect();
    let Some(id) = world.rng.pick(&all).copied() else { return Ok(()) };
    let revoke = world.rng.chance(50);
    command(world, if revoke { Command::ExpireAuthKey(id) } else { Command::DeleteAuthKey(id) })
}

/// API keys are created, used, revoked and deleted.
pub fn api_keys(world: &mut World) -> Checked {
    let all: Vec<ApiKeyId> = world.clerk.published.api_keys().map(|k| k.id).collect();
    let key = mint(API_KEY_PREFIX, &world.rng.bytes());
    let made = Command::CreateApiKey { prefix: key.prefix, digest: key.digest, expiration: None };
    let next = match (world.rng.pick(&all).copied(), world.rng.below(4)) {
        (None, _) | (_, 0) => made,
        (Some(id), 1) => Command::ApiKeyUsed(id),
        (Some(id), 2) => Command::ExpireApiKey(id),
        (Some(id), _) => Command::DeleteApiKey(id),
    };
    command(world, next)
}

/// A node gets a name, which may be invalid or taken.
pub fn rename_node(world: &mut World) -> Checked {
    let names = ["web", "web-1", "db", "printer", "Bad Name", "", "node"];
    let name = world.rng.pick(&names).copied().unwrap_or_default().to_owned();
    any_node(world).map_or(Ok(()), |node| command(world, Command::RenameNode { node, name }))
}

/// A node's expiry is set: now, soon, or never.
pub fn expire_node(world: &mut World) -> Checked {
    let seconds = world.rng.below(900) as i64 - 100;
    let at = world.rng.chance(70).then(|| world.clerk.now.plus_secs(seconds));
    any_node(world).map_or(Ok(()), |node| command(world, Command::ExpireNode { node, at }))
}

pub fn delete_node(world: &mut World) -> Checked {
    any_node(world).map_or(Ok(()), |node| command(world, Command::DeleteNode(node)))
}

pub fn tag_node(world: &mut World) -> Checked {
    let tags = tags(world);
    any_node(world).map_or(Ok(()), |node| command(world, Command::TagNode { node, tags }))
}

pub fn approve_routes(world: &mut World) -> Checked {
    let routes = ["10.1.0.0/16", "10.2.0.0/24", "0.0.0.0/0", "10.9.0.3/24"];
    let routes = routes.iter().filter(|_| world.rng.chance(70)).filter_map(|r| r.parse().ok()).collect();
    any_node(world).map_or(Ok(()), |node| command(world, Command::ApproveRoutes { node, routes }))
}

/// Some routes of a node are approved, and the approval of others is withdrawn. Sometimes a route is in both lists.
pub fn edit_routes(world: &mut World) -> Checked {
    let mut some = || -> BTreeSet<IpNet> {
        let all = ["10.1.0.0/16", "10.2.0.0/24", "::/0", "10.9.0.3/24"];
        all.iter().filter(|_| world.rng.chance(30)).filter_map(|r| r.parse().ok()).collect()
    };
    let (approve, withdraw) = (some(), some());
    any_node(world).map_or(Ok(()), |node| command(world, Command::EditRoutes { node, approve, withdraw }))
}

/// An administrator approves or denies a login, which may be settled already.
pub fn settle_login(world: &mut World) -> Checked {
    let only_waiting = world.rng.chance(90);
    let all: Vec<String> = world
        .clerk
        .published
        .tickets()
        .filter(|k| !only_waiting || k.state == TicketState::Waiting)
        .map(|k| k.id.clone())
        .collect();
    let Some(ticket) = world.rng.pick(&all).cloned() else { return Ok(()) };
    match any_user(world).filter(|_| world.rng.chance(80)) {
        Some(user) => command(world, Command::GrantTicket { ticket, user }),
        None => command(world, Command::RefuseTicket { ticket }),
    }
}

/// Nodes get the addresses that the current prefixes require.
pub fn backfill(world: &mut World) -> Checked {
    command(world, Command::BackfillIps)
}
