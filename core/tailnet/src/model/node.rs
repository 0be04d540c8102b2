//! Nodes, and what remains of deleted ones.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use headsail_wire::capver::CapVer;
use headsail_wire::hostinfo::{Hostinfo, NetInfo};
use headsail_wire::ids::{AuthKeyId, NodeId, UserId};
use headsail_wire::keys::{DiscoKey, MachineKey, NodeKey};
use headsail_wire::time::Time;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A set of tags that is never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tags(BTreeSet<String>);

impl Tags {
    /// `None` if the set is empty.
    pub fn new(tags: BTreeSet<String>) -> Option<Tags> {
        (!tags.is_empty()).then_some(Tags(tags))
    }

    /// The tags, each with its `tag:` prefix.
    pub fn iter(&self) -> impl Iterator<Item = &String> {
        self.0.iter()
    }
}

/// The owner of a node: a user or tags, never both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    User(UserId),
    Tags(Tags),
}

impl Owner {
    /// The user; `None` if the node is tagged.
    pub fn user(&self) -> Option<UserId> {
        match self {
            Owner::User(id) => Some(*id),
            Owner::Tags(_) => None,
        }
    }

    /// The tags, each with its `tag:` prefix; empty for a user's node.
    pub fn tags(&self) -> Vec<String> {
        match self {
            Owner::User(_) => Vec::new(),
            Owner::Tags(tags) => tags.iter().cloned().collect(),
        }
    }
}

/// The number of a map stream in this process. A newer stream has a higher number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamNo(pub u64);

/// Whether a node is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It has a map stream.
    Online {
        /// When it came online.
        since: Time,
        /// Its current stream; a newer one replaces it.
        stream: StreamNo,
    },
    /// Its stream has just ended. It counts as online until the grace period is over.
    Lingering {
        /// When it came online.
        since: Time,
        /// When its stream ended.
        left: Time,
        /// When the grace period ends.
        until: Time,
    },
    /// It is not connected.
    Offline {
        /// When it was last connected, or when it registered.
        since: Time,
    },
}

impl Presence {
    /// Whether peers see the node as online.
    pub fn is_online(self) -> bool {
        !matches!(self, Presence::Offline { .. })
    }

    /// The last-seen time that peers get: when the connection began or, if the node is offline, when it ended.
    pub fn seen(self) -> Time {
        match self {
            Presence::Online { since, .. }
            | Presence::Lingering { since, .. }
            | Presence::Offline { since } => since,
        }
    }
}

/// When a node's key expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    Never,
    /// In the future, or due now.
    At(Time),
    /// The key has expired, and peers see it as expired.
    Passed(Time),
}

impl Expiry {
    /// The time, past or future; `None` for never.
    pub fn time(self) -> Option<Time> {
        match self {
            Expiry::Never => None,
            Expiry::At(t) | Expiry::Passed(t) => Some(t),
        }
    }

    pub fn is_past(self) -> bool {
        matches!(self, Expiry::Passed(_))
    }

    /// The expiry for a stored or requested time.
    pub fn from_time(at: Option<Time>, now: Time) -> Expiry {
        match at {
            None => Expiry::Never,
            Some(t) if t <= now => Expiry::Passed(t),
            Some(t) => Expiry::At(t),
        }
    }
}

/// How a node was authorised when it registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterMethod {
    /// By a pre-auth key.
    AuthKey,
    /// By an administrator.
    Cli,
    /// By a login at an identity provider.
    Oidc,
}

/// Where a node can currently be reached. This is volatile: it is written with the same commit as everything else, and
/// takes effect even if the disk write fails.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contact {
    pub endpoints: Vec<SocketAddr>,
    /// Zero until the client has sent one.
    pub disco_key: DiscoKey,
    /// The client's measurements of its network, which include its home relay region.
    pub net_info: Option<Arc<NetInfo>>,
}

impl Contact {
    /// Home relay region; 0 for none.
    pub fn home_derp(&self) -> u32 {
        self.net_info.as_ref().map_or(0, |n| n.preferred_derp)
    }
}

/// A machine in the tailnet, under one owner.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Never changes and is never reused.
    pub id: NodeId,
    pub machine_key: MachineKey,
    pub node_key: NodeKey,
    pub owner: Owner,
    /// The host's name, as the client sent it.
    pub hostname: String,
    /// The node's DNS label, which is valid and unique.
    pub name: String,
    /// Whether an administrator chose the name, so that it does not follow the host's.
    pub name_pinned: bool,
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
    /// What the client reports about its host, without the network measurements, which are in `contact`.
    pub hostinfo: Arc<Hostinfo>,
    /// The client's capability version.
    pub cap: CapVer,
    pub contact: Contact,
    pub presence: Presence,
    pub expiry: Expiry,
    /// Whether it is deleted some time after it goes offline.
    pub ephemeral: bool,
    pub method: RegisterMethod,
    /// The pre-auth key with which it registered, as long as that key exists.
    pub auth_key: Option<AuthKeyId>,
    /// Routes that were approved, whether the node advertises them or not.
    pub approved_routes: BTreeSet<IpNet>,
    /// When it first registered.
    pub created: Time,
}

impl Node {
    /// Whether two versions of this row look the same to all other nodes and to the policy. A stream that replaces
    /// another, for example, makes no difference to anyone else.
    pub fn same_to_others(&self, other: &Node) -> bool {
        let Node {
            id,
            machine_key: _,
            node_key,
            owner,
            hostname: _,
            name,
            name_pinned: _,
            v4,
            v6,
            hostinfo,
            cap,
            contact: Contact { endpoints, disco_key, net_info: _ },
            presence,
            expiry,
            ephemeral: _,
            method: _,
            auth_key: _,
            approved_routes,
            created,
        } = self;
        let host = Arc::ptr_eq(hostinfo, &other.hostinfo) || *hostinfo == other.hostinfo;
        host && (id, node_key, owner, name, v4, v6)
            == (&other.id, &other.node_key, &other.owner, &other.name, &other.v4, &other.v6)
            && (cap, endpoints, disco_key) == (&other.cap, &other.contact.endpoints, &other.contact.disco_key)
            && self.contact.home_derp() == other.contact.home_derp()
            && (presence.is_online(), presence.seen()) == (other.presence.is_online(), other.presence.seen())
            && (expiry, approved_routes, created) == (&other.expiry, &other.approved_routes, &other.created)
    }

    /// Its addresses as host prefixes, IPv4 first.
    pub fn addresses(&self) -> Vec<IpNet> {
        self.ips().map(IpNet::from).collect()
    }

    /// Its addresses, IPv4 first.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }

    /// The routes that the client advertises, approved or not.
    pub fn advertised_routes(&self) -> &[IpNet] {
        &self.hostinfo.routable_ips
    }

    /// The routes that are both advertised and approved, sorted.
    pub fn live_routes(&self) -> Vec<IpNet> {
        let mut routes: Vec<IpNet> =
            self.advertised_routes().iter().filter(|r| self.approved_routes.contains(r)).copied().collect();
        routes.sort();
        routes.dedup();
        routes
    }
}

/// What remains of a deleted node, so that the server can tell its client to log in again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The id of the deleted node.
    pub node: NodeId,
    pub node_key: NodeKey,
    pub machine_key: MachineKey,
    pub deleted: Time,
}

/// How long a tombstone is kept: 30 days, in seconds.
pub const TOMBSTONE_SECS: i64 = 30 * 24 * 3600;
/// How many tombstones are kept; beyond it, the oldest is dropped.
pub const MAX_TOMBSTONES: usize = 10_000;

/// Adds the other default route if one of the two is there: an exit node serves both IPv4 and IPv6.
pub fn with_both_defaults(mut routes: BTreeSet<IpNet>) -> BTreeSet<IpNet> {
    let defaults = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
    if defaults.iter().any(|d| routes.contains(d)) {
        routes.extend(defaults);
    }
    routes
}
