//! Changes: facts about single rows. Memory, store, change log and followers all receive the same ones.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use headsail_wire::ids::{ApiKeyId, AuthKeyId, NodeId, UserId};
use headsail_wire::keys::NodeKey;
use ipnet::Ipv6Net;

use crate::model::key::{ApiKey, AuthKey};
use crate::model::node::{Contact, Node, Presence, Tombstone};
use crate::model::policy::PolicyRow;
use crate::model::settings::Settings;
use crate::model::ssh_check::SshCheck;
use crate::model::ticket::Ticket;
use crate::model::user::User;

/// The kinds of rows whose ids are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sequence {
    Nodes,
    Users,
    AuthKeys,
    ApiKeys,
    /// IPv4 addresses as numbers: new nodes get addresses after the highest that any node has had.
    V4,
    /// The last [`HOST_BITS`] bits of IPv6 addresses.
    V6,
}

/// How much of an IPv6 address a sequence counts. Stores keep signed 64-bit numbers, and addresses that are given out in
/// order never use more.
const HOST_BITS: u32 = 62;
const HOST_MASK: u128 = (1 << HOST_BITS) - 1;

impl Sequence {
    pub const ALL: [Sequence; 6] =
        [Sequence::Nodes, Sequence::Users, Sequence::AuthKeys, Sequence::ApiKeys, Sequence::V4, Sequence::V6];

    /// The name under which the store keeps it.
    pub fn name(self) -> &'static str {
        match self {
            Sequence::Nodes => "nodes",
            Sequence::Users => "users",
            Sequence::AuthKeys => "auth_keys",
            Sequence::ApiKeys => "api_keys",
            Sequence::V4 => "v4",
            Sequence::V6 => "v6",
        }
    }

    /// The sequence of an address, and its number there.
    pub fn of_address(ip: IpAddr) -> (Sequence, u64) {
        match ip {
            IpAddr::V4(ip) => (Sequence::V4, u64::from(ip.to_bits())),
            IpAddr::V6(ip) => (Sequence::V6, (ip.to_bits() & HOST_MASK) as u64),
        }
    }

    /// The IPv6 address of a network with this number in [`Sequence::V6`].
    pub(crate) fn v6_address(net: Ipv6Net, number: u64) -> Ipv6Addr {
        Ipv6Addr::from_bits(net.network().to_bits() & !HOST_MASK | u128::from(number))
    }
}

/// A fact about one row. Rows are always whole, except for those parts of a node that change often.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A user was created or updated.
    User(Arc<User>),
    UserGone(UserId),
    /// A node was created or updated.
    Node(Arc<Node>),
    NodeGone(NodeId),
    /// How a node can be reached now.
    Contact(NodeId, Contact),
    /// Whether a node is connected.
    Presence(NodeId, Presence),
    /// A node was deleted, and its client has to be told.
    Tombstone(Arc<Tombstone>),
    /// A tombstone has expired, made room for others, or its client has registered again.
    TombstoneGone(NodeKey),
    /// A pre-auth key was created or updated.
    AuthKey(Arc<AuthKey>),
    AuthKeyGone(AuthKeyId),
    /// An API key was created or updated.
    ApiKey(Arc<ApiKey>),
    ApiKeyGone(ApiKeyId),
    /// A pending login was created or settled.
    Ticket(Arc<Ticket>),
    TicketGone(String),
    /// An SSH check was created or settled.
    SshCheck(Arc<SshCheck>),
    SshCheckGone(String),
    /// A new policy took effect.
    Policy(Arc<PolicyRow>),
    /// The configuration changed.
    Settings(Arc<Settings>),
    /// The next id of a sequence.
    NextId(Sequence, u64),
}

/// Whether a change may be published before it is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It is committed first. If the store refuses it, it does not happen.
    Durable,
    /// It is written in the same commit, but takes effect even if the store refuses it.
    Volatile,
    /// It lives in memory only.
    Memory,
}

impl Change {
    /// The kind, as the change log stores it and filters name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Change::User(_) => "user",
            Change::UserGone(_) => "user-deleted",
            Change::Node(_) => "node",
            Change::NodeGone(_) => "node-deleted",
            Change::Contact(..) => "contact",
            Change::Presence(..) => "presence",
            Change::Tombstone(_) => "tombstone",
            Change::TombstoneGone(_) => "tombstone-deleted",
            Change::AuthKey(_) => "preauthkey",
            Change::AuthKeyGone(_) => "preauthkey-deleted",
            Change::ApiKey(_) => "apikey",
            Change::ApiKeyGone(_) => "apikey-deleted",
            Change::Ticket(_) => "login",
            Change::TicketGone(_) => "login-deleted",
            Change::SshCheck(_) => "ssh-check",
            Change::SshCheckGone(_) => "ssh-check-deleted",
            Change::Policy(_) => "policy",
            Change::Settings(_) => "settings",
            Change::NextId(..) => "sequence",
        }
    }

    /// Whether the change has to be on disk before it takes effect.
    pub fn durability(&self) -> Durability {
        match self {
            Change::User(_)
            | Change::UserGone(_)
            | Change::Node(_)
            | Change::NodeGone(_)
            | Change::Tombstone(_)
            | Change::TombstoneGone(_)
            | Change::AuthKey(_)
            | Change::AuthKeyGone(_)
            | Change::ApiKey(_)
            | Change::ApiKeyGone(_)
            | Change::NextId(..) => Durability::Durable,
            Change::Policy(row) if row.kept => Durability::Durable,
            Change::Contact(..) | Change::Presence(..) => Durability::Volatile,
            Change::SshCheck(_)
            | Change::SshCheckGone(_)
            | Change::Policy(_)
            | Change::Ticket(_)
            | Change::TicketGone(_)
            | Change::Settings(_) => Durability::Memory,
        }
    }
}
