//! Any history of commands: nobody joins without a valid key or a person, a one-shot key admits one machine, machine keys
//! never change, and keys, names and addresses belong to one node.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headsail_tailnet::change::Change;
use headsail_tailnet::command::{
    Command, Env, NewAuthKey, NewUser, Registration, Rejection, ShownKey, Telling,
};
use headsail_tailnet::deadline::Deadlines;
use headsail_tailnet::decide::decide;
use headsail_tailnet::model::key::{AUTH_KEY_PREFIX, mint};
use headsail_tailnet::model::node::StreamNo;
use headsail_tailnet::model::settings::Settings;
use headsail_tailnet::model::ticket::TicketState;
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::capver::CapVer;
use headsail_wire::hostinfo::Hostinfo;
use headsail_wire::ids::{AuthKeyId, NodeId, UserId};
use headsail_wire::keys::{DiscoKey, MachineKey, NodeKey};
use headsail_wire::time::Time;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

/// One step of a history. Numbers choose among what is there.
#[derive(Arbitrary, Debug)]
enum Act {
    User,
    AuthKey { user: u8, reusable: bool, ephemeral: bool, secs: Option<u8> },
    ExpireKey(u8),
    DeleteKey(u8),
    DeleteUser(u8),
    Register { machine: u8, key: u8, old_key: u8, with: Option<u8>, host: u8, expiry: Option<i8> },
    Grant { ticket: u8, user: u8 },
    Refuse { ticket: u8 },
    Update { node: u8, host: u8, port: u16 },
    Open { node: u8, host: u8, stream: u8 },
    Close { node: u8, stream: u8 },
    Rename { node: u8, host: u8 },
    Expire { node: u8, secs: Option<i8> },
    Delete(u8),
    Wait(u16),
}

/// Histories are cut after so many steps, because each step looks at every node.
const MAX_STEPS: usize = 200;
const HOSTS: [&str; 8] = ["web", "db", "web", "日本", "", "Web.local", "web-1", "x--"];

struct World {
    t: Tailnet,
    now: Time,
    counter: u64,
    /// The texts of the pre-auth keys.
    texts: Vec<String>,
    /// The nodes that each pre-auth key admitted.
    admitted: BTreeMap<AuthKeyId, BTreeSet<NodeId>>,
    machines: BTreeMap<NodeId, MachineKey>,
}

fuzz_target!(|acts: Vec<Act>| {
    let t = Tailnet::empty(Arc::new(Settings::basic()));
    let (texts, admitted, machines) = Default::default();
    let mut world = World { t, now: Time::from_secs(1_750_000_000), counter: 0, texts, admitted, machines };
    for act in acts.into_iter().take(MAX_STEPS) {
        world.step(&act);
    }
});

impl World {
    fn step(&mut self, act: &Act) {
        if let Act::Wait(secs) = act {
            self.now = self.now.plus_secs(i64::from(*secs));
            for row in Deadlines::of(&self.t).due(self.now, 1000) {
                let _ = self.carry_out(&Command::Due(row));
            }
            return;
        }
        if let Some(command) = self.command(act) {
            let _ = self.carry_out(&command);
        }
    }

    /// Decides a command, checks what it changes, and applies it.
    fn carry_out(&mut self, command: &Command) -> Result<(), Rejection> {
        let counter = &mut self.counter;
        let mut fill = |buffer: &mut [u8]| {
            for byte in buffer {
                *counter =
                    counter.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = (*counter >> 56) as u8;
            }
        };
        let changes = decide(&self.t, command, &mut Env { now: self.now, rng: &mut fill })?;
        for change in &changes {
            if let Change::Node(node) = change
                && self.t.node(node.id).is_none()
            {
                self.joins(command, node.id);
            }
        }
        self.t.apply(&changes);
        self.check();
        Ok(())
    }

    /// A new node was authorised: by a person, or by a key that was valid.
    fn joins(&mut self, command: &Command, node: NodeId) {
        match command {
            Command::GrantTicket { ticket, .. } => {
                let ticket = self.t.ticket(ticket).expect("a login that nobody waits for was approved");
                assert_eq!(ticket.state, TicketState::Waiting, "a login was approved twice");
            }
            Command::Register(r) => {
                let ShownKey::Key { prefix, digest } = &r.auth_key else {
                    panic!("a machine joined without a key")
                };
                let key = self.t.auth_key_by_prefix(prefix).expect("a machine joined with an unknown key");
                assert!(
                    key.digest == *digest && key.check(self.now).is_ok(),
                    "a machine joined with an invalid key"
                );
                let (id, reusable) = (key.id, key.reusable);
                let admitted = self.admitted.entry(id).or_default();
                admitted.insert(node);
                assert!(reusable || admitted.len() == 1, "a one-shot key admitted two machines");
            }
            _ => panic!("a node came from nowhere"),
        }
    }

    fn check(&mut self) {
        let (mut keys, mut names, mut ips) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for node in self.t.nodes() {
            assert!(keys.insert(node.node_key), "two nodes have one key");
            assert!(names.insert(node.name.clone()), "two nodes have the name {}", node.name);
            assert!(node.ips().all(|ip| ips.insert(ip)), "two nodes have one address");
            let machine = self.machines.entry(node.id).or_insert(node.machine_key);
            assert_eq!(*machine, node.machine_key, "the machine key of a node has changed");
        }
    }

    fn command(&mut self, act: &Act) -> Option<Command> {
        Some(match *act {
            Act::User => {
                let name = format!("user{}", self.t.users().count());
                Command::CreateUser(NewUser { name, ..NewUser::default() })
            }
            Act::AuthKey { user, reusable, ephemeral, secs } => {
                let number = self.texts.len() as u64;
                let mut random = [0; 44];
                random[..8].copy_from_slice(&number.to_le_bytes());
                let minted = mint(AUTH_KEY_PREFIX, &random);
                let new = NewAuthKey {
                    prefix: minted.prefix,
                    digest: minted.digest,
                    user: Some(self.user(user)?),
                    tags: BTreeSet::new(),
                    reusable,
                    ephemeral,
                    expiration: secs.map(|secs| self.now.plus_secs(i64::from(secs) + 1)),
                };
                self.texts.push(minted.text);
                Command::CreateAuthKey(Box::new(new))
            }
            Act::ExpireKey(key) => Command::ExpireAuthKey(self.key(key)?),
            Act::DeleteKey(key) => Command::DeleteAuthKey(self.key(key)?),
            Act::DeleteUser(user) => Command::DestroyUser(self.user(user)?),
            Act::Register { machine, key, old_key, with, host, expiry } => {
                Command::Register(Box::new(Registration {
                    machine_key: MachineKey::from_bytes([machine % 4 + 1; 32]),
                    cap: CapVer::FLOOR,
                    node_key: NodeKey::from_bytes([key % 8; 32]),
                    old_node_key: NodeKey::from_bytes([old_key % 8; 32]),
                    auth_key: match with {
                        None => ShownKey::None,
                        Some(n) => {
                            ShownKey::of(self.texts.get(usize::from(n)).map_or("nonsense", String::as_str))
                        }
                    },
                    expiry: expiry.map(|secs| self.now.plus_secs(i64::from(secs))),
                    hostinfo: named(host),
                    ephemeral: false,
                }))
            }
            Act::Grant { ticket, user } => {
                Command::GrantTicket { ticket: self.ticket(ticket)?, user: self.user(user)? }
            }
            Act::Refuse { ticket } => Command::RefuseTicket { ticket: self.ticket(ticket)? },
            Act::Update { node, host, port } => {
                Command::MapUpdate { node: self.node(node)?, telling: Box::new(telling(host, port)) }
            }
            Act::Open { node, host, stream } => Command::StreamOpened {
                node: self.node(node)?,
                stream: StreamNo(stream.into()),
                telling: Box::new(telling(host, 1)),
            },
            Act::Close { node, stream } => {
                Command::StreamClosed { node: self.node(node)?, stream: StreamNo(stream.into()) }
            }
            Act::Rename { node, host } => Command::RenameNode {
                node: self.node(node)?,
                name: HOSTS[usize::from(host) % HOSTS.len()].into(),
            },
            Act::Expire { node, secs } => {
                let at = secs.map(|secs| self.now.plus_secs(i64::from(secs)));
                Command::ExpireNode { node: self.node(node)?, at }
            }
            Act::Delete(node) => Command::DeleteNode(self.node(node)?),
            Act::Wait(_) => return None,
        })
    }

    fn user(&self, number: u8) -> Option<UserId> {
        pick(self.t.users().map(|user| user.id), number)
    }

    fn key(&self, number: u8) -> Option<AuthKeyId> {
        pick(self.t.auth_keys().map(|key| key.id), number)
    }

    fn node(&self, number: u8) -> Option<NodeId> {
        pick(self.t.nodes().map(|node| node.id), number)
    }

    fn ticket(&self, number: u8) -> Option<String> {
        pick(self.t.tickets().map(|ticket| ticket.id.clone()), number)
    }
}

fn pick<T>(all: impl Iterator<Item = T>, number: u8) -> Option<T> {
    let all: Vec<T> = all.collect();
    let place = usize::from(number).checked_rem(all.len())?;
    all.into_iter().nth(place)
}

fn named(host: u8) -> Hostinfo {
    Hostinfo { hostname: HOSTS[usize::from(host) % HOSTS.len()].into(), ..Hostinfo::default() }
}

fn telling(host: u8, port: u16) -> Telling {
    Telling {
        hostinfo: Some(named(host)),
        endpoints: vec![([192, 0, 2, 1], port).into()],
        disco_key: DiscoKey::default(),
        cap: CapVer::FLOOR,
    }
}
