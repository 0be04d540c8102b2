//! Nodes.

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
    /// `None` for the empty set.
    pub fn new(tags: BTreeSet<String>) -> Option<Tags> {
        (!tags.is_empty()).then_some(Tags(tags))
    }

    /// The tags, each with its `tag:`.
    pub fn iter(&self) -> impl Iterator<Item = &String> {
        self.0.iter()
    }
}

/// Who a node belongs to: a user or tags, never both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A user.
    User(UserId),
    /// Tags.
    Tags(Tags),
}

impl Owner {
    /// The user, unless the node is tagged.
    pub fn user(&self) -> Option<UserId> {
        match self {
            Owner::User(id) => Some(*id),
            Owner::Tags(_) => None,
        }
    }

    /// The tags, none for a user's node.
    pub fn tags(&self) -> Vec<String> {
        match self {
            Owner::User(_) => Vec::new(),
            Owner::Tags(tags) => tags.iter().cloned().collect(),
        }
    }
}

/// Names one map stream of this process; grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamNo(pub u64);

/// Whether a node is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It has a map stream.
    Online {
        /// When it came.
        since: Time,
        /// Its stream; a newer one takes its place.
        stream: StreamNo,
    },
    /// Its stream has ended a moment ago; it counts as online until the grace is over.
    Lingering {
        /// When it came.
        since: Time,
        /// When its stream ended.
        left: Time,
        /// When the grace is over.
        until: Time,
    },
    /// It is not connected.
    Offline {
        /// When it was last connected, or when it registered.
        since: Time,
    },
}

impl Presence {
    /// What peers are told.
    pub fn is_online(self) -> bool {
        !matches!(self, Presence::Offline { .. })
    }

    /// Last seen: when the connection began, or when it ended.
    pub fn seen(self) -> Time {
        match self {
            Presence::Online { since, .. }
            | Presence::Lingering { since, .. }
            | Presence::Offline { since } => since,
        }
    }
}

/// When a node's key stops being good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Never.
    Never,
    /// At a time to come.
    At(Time),
    /// It has happened, and everyone was told.
    Passed(Time),
}

impl Expiry {
    /// The time, past or future.
    pub fn time(self) -> Option<Time> {
        match self {
            Expiry::Never => None,
            Expiry::At(t) | Expiry::Passed(t) => Some(t),
        }
    }

    /// Whether it has happened.
    pub fn is_past(self) -> bool {
        matches!(self, Expiry::Passed(_))
    }

    /// From a stored or asked-for time.
    pub fn from_time(at: Option<Time>, now: Time) -> Expiry {
        match at {
            None => Expiry::Never,
            Some(t) if t <= now => Expiry::Passed(t),
            Some(t) => Expiry::At(t),
        }
    }
}

/// How a node came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterMethod {
    /// With an auth key.
    AuthKey,
    /// An administrator let it in.
    Cli,
    /// A person logged in at an identity provider.
    Oidc,
}

/// Where a node can be reached now. Volatile: it is written with the same commit as everything else, and holds even where
/// the disk refuses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contact {
    /// Addresses and ports.
    pub endpoints: Vec<SocketAddr>,
    /// Discovery key; zero until the client has told one.
    pub disco_key: DiscoKey,
    /// What the client measured of its network, with its home relay region.
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
    /// Number for its whole life, never given again.
    pub id: NodeId,
    /// The machine that it runs on.
    pub machine_key: MachineKey,
    /// Its key now.
    pub node_key: NodeKey,
    /// Who it belongs to.
    pub owner: Owner,
    /// The name that its host has given itself, as it came.
    pub hostname: String,
    /// Its DNS label: clean and unique.
    pub name: String,
    /// Whether an administrator chose the name, so that it no longer follows the host's.
    pub name_pinned: bool,
    /// IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// IPv6 address.
    pub v6: Option<Ipv6Addr>,
    /// What the client tells of its host; its network measurements are in `contact`.
    pub hostinfo: Arc<Hostinfo>,
    /// The client's capability version.
    pub cap: CapVer,
    /// Where it can be reached.
    pub contact: Contact,
    /// Whether it is connected.
    pub presence: Presence,
    /// When its key stops being good.
    pub expiry: Expiry,
    /// Whether it vanishes when it goes offline.
    pub ephemeral: bool,
    /// How it came in.
    pub method: RegisterMethod,
    /// The key with which it came in, as long as that exists.
    pub auth_key: Option<AuthKeyId>,
    /// Routes that were approved, whether it offers them or not.
    pub approved_routes: BTreeSet<IpNet>,
    /// When it registered first.
    pub created: Time,
}

impl Node {
    /// Whether everyone else is told the same of this row and of another version of it, and the policy knows the same of
    /// both. A stream that takes another's place, for one, is nobody's business.
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

    /// The routes that it offers.
    pub fn advertised_routes(&self) -> &[IpNet] {
        &self.hostinfo.routable_ips
    }

    /// The routes that it offers and that were approved.
    pub fn live_routes(&self) -> Vec<IpNet> {
        let mut routes: Vec<IpNet> =
            self.advertised_routes().iter().filter(|r| self.approved_routes.contains(r)).copied().collect();
        routes.sort();
        routes.dedup();
        routes
    }
}

/// What is left of a deleted node: its client must hear that it has to log in again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The node that was.
    pub node: NodeId,
    /// Its key.
    pub node_key: NodeKey,
    /// Its machine.
    pub machine_key: MachineKey,
    /// When it was deleted.
    pub deleted: Time,
}

/// How long a tombstone is kept: 30 days, in seconds.
pub const TOMBSTONE_SECS: i64 = 30 * 24 * 3600;
/// How many tombstones are kept at most; the oldest give way.
pub const MAX_TOMBSTONES: usize = 10_000;

/// One default route stands for both: an exit node has IPv4 and IPv6 or is none.
pub fn with_both_defaults(mut routes: BTreeSet<IpNet>) -> BTreeSet<IpNet> {
    let defaults = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
    if defaults.iter().any(|d| routes.contains(d)) {
        routes.extend(defaults);
    }
    routes
}
