//! A tailnet of any size with all its viewers connected, and the work that one command makes of it for a server.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use headsail_policy::ClassKey;
use headsail_tailnet::change::Change;
use headsail_tailnet::command::{Command, NewUser};
use headsail_tailnet::delta::{Delta, Step};
use headsail_tailnet::model::node::{Contact, Expiry, Node, Owner, Presence, RegisterMethod, StreamNo, Tags};
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::capver::CapVer;
use headsail_wire::hostinfo::Hostinfo;
use headsail_wire::ids::{NodeId, UserId};
use headsail_wire::keys::{MachineKey, NodeKey};
use headsail_wire::time::Time;
use ipnet::IpNet;

use super::Town;

/// How many nodes each user has.
pub const NODES_OF_A_USER: u64 = 10;
/// The last nodes are the two routers of this network, tagged `tag:router`.
pub const NETWORK: &str = "10.1.0.0/16";

pub fn node_id(n: u64) -> NodeId {
    NodeId::new(n).expect("an id")
}

fn address(n: u64) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(100, 64, 0, 0).to_bits() + n as u32)
}

fn key(n: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    bytes[8..16].copy_from_slice(&n.to_le_bytes());
    bytes
}

fn node(n: u64, owner: Owner, routes: &[IpNet]) -> Node {
    let start = Time::from_secs(1_740_000_000);
    Node {
        id: node_id(n),
        machine_key: MachineKey::from_bytes(key(n)),
        node_key: NodeKey::from_bytes(key(n)),
        owner,
        hostname: format!("node-{n}"),
        name: format!("node-{n}"),
        name_pinned: false,
        v4: Some(address(n)),
        v6: Some(Ipv6Addr::from_bits(0xfd7a_115c_a1e0_u128 << 80 | u128::from(n))),
        hostinfo: Arc::new(Hostinfo {
            hostname: format!("node-{n}"),
            os: "linux".into(),
            routable_ips: routes.to_vec(),
            ..Hostinfo::default()
        }),
        cap: CapVer(120),
        contact: Contact::default(),
        presence: Presence::Online { since: start, stream: StreamNo(n) },
        expiry: Expiry::Never,
        ephemeral: false,
        method: RegisterMethod::AuthKey,
        auth_key: None,
        approved_routes: routes.iter().copied().collect(),
        created: start,
    }
}

/// `size` connected nodes: nearly all of users with ten each, the last two routers for one network. One more user has none.
pub fn city(size: u64, kind: Kind) -> Town {
    let mut town = Town::new();
    for u in 0..=size / NODES_OF_A_USER + 1 {
        let name = format!("user-{u}");
        // Clients are told the e-mail address of a user that has one, instead of the name.
        let email = if u % 2 == 0 { String::new() } else { format!("{name}@example.com") };
        town.make(Command::CreateUser(NewUser { name, email, ..NewUser::default() }));
    }
    let network: IpNet = NETWORK.parse().expect("a prefix");
    let tags = || Tags::new(BTreeSet::from(["tag:router".to_owned()])).expect("a tag");
    let rows = (1..=size).map(|n| {
        let owner = UserId::new(1 + n / NODES_OF_A_USER).expect("an id");
        let row = match n + 2 > size {
            true => node(n, Owner::Tags(tags()), &[network]),
            false => node(n, Owner::User(owner), &[]),
        };
        Change::Node(Arc::new(row))
    });
    town.t.apply(&rows.collect::<Vec<_>>());
    town.make(Command::SetPolicy { text: kind.policy(&one_in_a_hundred(size), 22, "first"), kept: true });
    town
}

/// The same tailnet once more.
pub fn copy(town: &Town) -> Town {
    Town { t: town.t.clone(), now: town.now, chance: town.chance }
}

/// The policies of a city.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Everything is allowed to everybody: there are few classes.
    Open,
    /// Users reach their own nodes, and all reach the network of the routers: each user is a class.
    Closed,
}

impl Kind {
    /// A policy of this kind with a rule that opens a port on the nodes whose addresses are given, and a comment.
    pub fn policy(self, addressed: &[u64], port: u16, comment: &str) -> String {
        let to: Vec<String> = addressed.iter().map(|n| format!(r#""{}:{port}""#, address(*n))).collect();
        let others = match self {
            Kind::Open => r#"{"action": "accept", "src": ["*"], "dst": ["*:*"]}"#.to_owned(),
            Kind::Closed => format!(
                r#"{{"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:*"]}},
                   {{"action": "accept", "src": ["autogroup:member"], "dst": ["{NETWORK}:443"]}}"#
            ),
        };
        format!(
            r#"{{
            // {comment}
            "groups": {{"group:ops": ["user-1@", "user-2@"]}},
            "tagOwners": {{"tag:router": [], "tag:web": []}},
            "acls": [{{"action": "accept", "src": ["group:ops"], "dst": [{}]}}, {others}],
            "ssh": [{{"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self"],
                "users": ["localpart:*@example.com"]}}]
        }}"#,
            to.join(", ")
        )
    }
}

/// Every hundredth node.
pub fn one_in_a_hundred(size: u64) -> Vec<u64> {
    (1..=size / 100).map(|n| n * 100 - 50).collect()
}

/// What it takes to bring all viewers from one snapshot to another, with frames shared as the server shares them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Rows of peers that were compared.
    pub rows: usize,
    /// Frames rendered.
    pub frames: usize,
    /// Bytes in them.
    pub bytes: usize,
    /// Viewers that are sent a frame.
    pub told: usize,
}

/// Brings all viewers of `then` to `now`.
pub fn work(then: &Arc<Tailnet>, now: &Arc<Tailnet>) -> Work {
    let step = Step::new(then.clone(), now.clone());
    let mut shared: BTreeMap<(ClassKey, ClassKey), bool> = BTreeMap::new();
    let mut work = Work::default();
    for viewer in then.nodes().map(|n| n.id).filter(|id| now.node(*id).is_some()) {
        let class = |t: &Tailnet| t.access().engine().class_of(viewer).expect("a class");
        let key = (class(then), class(now));
        let own = step.tells_of_itself(viewer);
        if let Some(told) = shared.get(&key).filter(|_| !own) {
            work.told += usize::from(*told);
            continue;
        }
        let delta = step.delta(viewer);
        let is_told = delta != Delta::Nothing;
        work.rows += step.rows(viewer).len();
        work.told += usize::from(is_told);
        if let Delta::Frame(frame) = delta {
            work.frames += 1;
            work.bytes += serde_json::to_vec(&frame).expect("JSON").len();
        }
        if !own {
            shared.insert(key, is_told);
        }
    }
    work
}
