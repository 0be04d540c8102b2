//! Invariant I4: after any history, loading the rows or replaying the change log rebuilds memory.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a fixture that fails is a failed test")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use headsail_store::memory::MemoryStore;
use headsail_store::sqlite::{Options, SqliteStore};
use headsail_store::{Fault, Store};
use headsail_tailnet::actor::Actor;
use headsail_tailnet::change::Change;
use headsail_tailnet::command::{Command, Env, NewAuthKey, NewUser, Registration, ShownKey, Telling};
use headsail_tailnet::commit::{Commit, Revision, Since};
use headsail_tailnet::deadline::Deadlines;
use headsail_tailnet::decide::decide;
use headsail_tailnet::model::key::{API_KEY_PREFIX, AUTH_KEY_PREFIX, KeyDigest, mint};
use headsail_tailnet::model::node::{Presence, StreamNo};
use headsail_tailnet::model::settings::Settings;
use headsail_tailnet::model::ticket::TicketState;
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::capver::CapVer;
use headsail_wire::hostinfo::{Hostinfo, NetInfo, Service};
use headsail_wire::ids::{ApiKeyId, AuthKeyId, NodeId, UserId};
use headsail_wire::keys::{DiscoKey, MachineKey, NodeKey};
use headsail_wire::time::Time;
use proptest::prelude::*;

/// One step of a history. Numbers choose among the rows that exist.
#[derive(Clone, Debug)]
enum Step {
    User,
    RenameUser(u8),
    SetRole(u8, u8),
    DestroyUser(u8),
    AuthKey {
        user: u8,
        tagged: bool,
        reusable: bool,
        ephemeral: bool,
    },
    ExpireAuthKey(u8),
    DeleteAuthKey(u8),
    ApiKey,
    ExpireApiKey(u8),
    DeleteApiKey(u8),
    UseApiKey(u8),
    Register {
        machine: u8,
        node_key: u8,
        with: Option<u8>,
        host: u8,
    },
    Grant {
        user: u8,
    },
    Refuse,
    Tell {
        node: u8,
        host: Option<u8>,
        latency: f64,
    },
    Open {
        node: u8,
        host: u8,
    },
    Close {
        node: u8,
    },
    Shutdown,
    RenameNode {
        node: u8,
        to: u8,
    },
    ExpireNode {
        node: u8,
        secs: Option<i8>,
    },
    DeleteNode(u8),
    Tag {
        node: u8,
        tags: u8,
    },
    Approve {
        node: u8,
        routes: u8,
    },
    OtherPrefixes(bool),
    Wait(u32),
    /// Both stores refuse the next commit.
    Fault,
    /// The server restarts.
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    use Step::*;
    let byte = any::<u8>;
    prop_oneof![
        2 => Just(User),
        1 => byte().prop_map(RenameUser),
        1 => (byte(), byte()).prop_map(|(user, role)| SetRole(user, role)),
        1 => byte().prop_map(DestroyUser),
        3 => (byte(), any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(user, tagged, reusable, ephemeral)| AuthKey { user, tagged, reusable, ephemeral }),
        1 => byte().prop_map(ExpireAuthKey),
        1 => byte().prop_map(DeleteAuthKey),
        1 => Just(ApiKey),
        1 => byte().prop_map(ExpireApiKey),
        1 => byte().prop_map(DeleteApiKey),
        1 => byte().prop_map(UseApiKey),
        8 => (0u8..6, 0u8..12, proptest::option::weighted(0.8, byte()), byte())
            .prop_map(|(machine, node_key, with, host)| Register { machine, node_key, with, host }),
        2 => byte().prop_map(|user| Grant { user }),
        1 => Just(Refuse),
        4 => (byte(), proptest::option::of(byte()), 0.0..0.5f64)
            .prop_map(|(node, host, latency)| Tell { node, host, latency }),
        4 => (byte(), byte()).prop_map(|(node, host)| Open { node, host }),
        2 => byte().prop_map(|node| Close { node }),
        1 => Just(Shutdown),
        1 => (byte(), byte()).prop_map(|(node, to)| RenameNode { node, to }),
        1 => (byte(), proptest::option::of(-9i8..9)).prop_map(|(node, secs)| ExpireNode { node, secs }),
        2 => byte().prop_map(DeleteNode),
        1 => (byte(), byte()).prop_map(|(node, tags)| Tag { node, tags }),
        1 => (byte(), byte()).prop_map(|(node, routes)| Approve { node, routes }),
        1 => any::<bool>().prop_map(OtherPrefixes),
        3 => (0u32..200).prop_map(Wait),
        1 => Just(Fault),
        1 => Just(Reopen),
    ]
}

struct World {
    now: Time,
    drawn: u64,
    tailnet: Tailnet,
    /// `tailnet` with the pending changes applied.
    next: Tailnet,
    pending: Vec<Change>,
    fault: bool,
    path: PathBuf,
    sqlite: Option<SqliteStore>,
    memory: MemoryStore,
    revision: Revision,
}

fn settings() -> Arc<Settings> {
    Arc::new(Settings { node_expiry: Some(300), ..Settings::basic() })
}

fn open(path: &std::path::Path) -> SqliteStore {
    SqliteStore::open(path, Options::default()).unwrap()
}

impl World {
    fn new(dir: &tempfile::TempDir) -> World {
        let path = dir.path().join("headsail.db");
        let tailnet = Tailnet::empty(settings());
        World {
            now: Time::from_secs(1_700_000_000),
            drawn: 0,
            next: tailnet.clone(),
            tailnet,
            pending: Vec::new(),
            fault: false,
            sqlite: Some(open(&path)),
            path,
            memory: MemoryStore::default(),
            revision: Revision::default(),
        }
    }

    /// Fills a buffer with bytes that are different each time.
    fn draw(drawn: &mut u64, into: &mut [u8]) {
        for chunk in into.chunks_mut(8) {
            *drawn = drawn.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let bytes = (*drawn ^ (*drawn >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).to_le_bytes();
            for (to, from) in chunk.iter_mut().zip(bytes) {
                *to = from;
            }
        }
    }

    fn submit(&mut self, command: Command) {
        let drawn = &mut self.drawn;
        let mut rng = |into: &mut [u8]| World::draw(drawn, into);
        let mut env = Env { now: self.now, rng: &mut rng };
        if let Ok(changes) = decide(&self.next, &command, &mut env) {
            self.next.apply(&changes);
            self.pending.extend(changes);
        }
    }

    /// Commits the pending changes to both stores, as a clerk does.
    fn flush(&mut self) {
        let changes = std::mem::take(&mut self.pending);
        let entries = if changes.is_empty() { Vec::new() } else { vec![(Actor::Server, changes.clone())] };
        let commit = Commit::on(self.revision, self.now, entries);
        let touches_disk =
            changes.iter().any(|c| c.durability() != headsail_tailnet::change::Durability::Memory);
        if self.fault && touches_disk {
            self.fault = false;
            // The memory store is made to fail, and SQLite gets a commit with a wrong revision. Neither may change anything.
            self.memory.fail([Fault::Full("disk".into())]);
            assert!(self.memory.commit(&commit).is_err());
            let wrong = Commit { revision: Revision(commit.revision.0 + 7), ..commit };
            assert!(matches!(self.sqlite().commit(&wrong), Err(Fault::Conflict { .. })));
            self.next = self.tailnet.clone();
            return;
        }
        self.sqlite().commit(&commit).unwrap();
        self.memory.commit(&commit).unwrap();
        assert_eq!(commit.revision.0 - self.revision.0, u64::from(touches_disk));
        self.revision = commit.revision;
        self.tailnet = self.next.clone();
    }

    fn sqlite(&mut self) -> &mut SqliteStore {
        self.sqlite.as_mut().unwrap()
    }

    fn node(&self, choice: u8) -> Option<NodeId> {
        self.next.nodes().nth(usize::from(choice) % self.next.node_count().max(1)).map(|n| n.id)
    }

    fn user(&self, choice: u8) -> Option<UserId> {
        self.next.users().nth(usize::from(choice) % self.next.users().count().max(1)).map(|u| u.id)
    }

    fn auth_key(&self, choice: u8) -> Option<AuthKeyId> {
        self.next.auth_keys().nth(usize::from(choice) % self.next.auth_keys().count().max(1)).map(|k| k.id)
    }

    fn api_key(&self, choice: u8) -> Option<ApiKeyId> {
        self.next.api_keys().nth(usize::from(choice) % self.next.api_keys().count().max(1)).map(|k| k.id)
    }

    fn mint(&mut self, kind: &str) -> (String, KeyDigest) {
        let mut bytes = [0; 44];
        World::draw(&mut self.drawn, &mut bytes);
        let key = mint(kind, &bytes);
        (key.prefix, key.digest)
    }

    fn take(&mut self, step: Step) {
        match self.command(step) {
            Some(command) => self.submit(command),
            None => {
                for row in Deadlines::of(&self.next).due(self.now, 100) {
                    self.submit(Command::Due(row));
                }
            }
        }
    }

    #[allow(clippy::too_many_lines, reason = "a table: one arm a step")]
    fn command(&mut self, step: Step) -> Option<Command> {
        Some(match step {
            Step::User => Command::CreateUser(NewUser {
                name: format!("user{}", self.next.users().count()),
                display_name: "Jané \"Doe\"; --".into(),
                ..NewUser::default()
            }),
            Step::RenameUser(u) => Command::RenameUser { user: self.user(u)?, name: format!("other{u}") },
            Step::SetRole(u, role) => {
                let names = ["member", "auditor", "admin", "owner"];
                let role = names[usize::from(role) % names.len()].parse().unwrap();
                Command::SetRole { user: self.user(u)?, role }
            }
            Step::DestroyUser(u) => Command::DestroyUser(self.user(u)?),
            Step::AuthKey { user, tagged, reusable, ephemeral } => {
                let (prefix, digest) = self.mint(AUTH_KEY_PREFIX);
                let tags = if tagged { tags(user) } else { BTreeSet::new() };
                let expiration = Some(self.now.plus_secs(500)).filter(|_| !reusable);
                let user = self.user(user);
                let key = NewAuthKey { prefix, digest, user, tags, reusable, ephemeral, expiration };
                Command::CreateAuthKey(Box::new(key))
            }
            Step::ExpireAuthKey(k) => Command::ExpireAuthKey(self.auth_key(k)?),
            Step::DeleteAuthKey(k) => Command::DeleteAuthKey(self.auth_key(k)?),
            Step::ApiKey => {
                let (prefix, digest) = self.mint(API_KEY_PREFIX);
                Command::CreateApiKey { prefix, digest, expiration: None }
            }
            Step::ExpireApiKey(k) => Command::ExpireApiKey(self.api_key(k)?),
            Step::DeleteApiKey(k) => Command::DeleteApiKey(self.api_key(k)?),
            Step::UseApiKey(k) => Command::ApiKeyUsed(self.api_key(k)?),
            Step::Register { machine, node_key, with, host } => {
                let known = |choice| self.next.auth_key(self.auth_key(choice)?);
                let auth_key = match with.map(known) {
                    None => ShownKey::None,
                    Some(None) => ShownKey::Unreadable,
                    Some(Some(key)) => ShownKey::Key { prefix: key.prefix.clone(), digest: key.digest },
                };
                Command::Register(Box::new(registration(machine, node_key, auth_key, host)))
            }
            Step::Grant { user } => Command::GrantTicket { ticket: self.waiting()?, user: self.user(user)? },
            Step::Refuse => Command::RefuseTicket { ticket: self.waiting()? },
            Step::Tell { node, host, latency } => Command::MapUpdate {
                node: self.node(node)?,
                telling: Box::new(telling(node, host.map(|h| host_with(h, latency)))),
            },
            Step::Open { node, host } => Command::StreamOpened {
                node: self.node(node)?,
                stream: StreamNo(u64::MAX - u64::from(host)),
                telling: Box::new(telling(host, Some(host_with(host, 0.1)))),
            },
            Step::Close { node } => {
                let node = self.next.node(self.node(node)?)?;
                let Presence::Online { stream, .. } = node.presence else { return None };
                Command::StreamClosed { node: node.id, stream }
            }
            Step::Shutdown => Command::Shutdown,
            Step::RenameNode { node, to } => {
                Command::RenameNode { node: self.node(node)?, name: format!("name-{to}") }
            }
            Step::ExpireNode { node, secs } => Command::ExpireNode {
                node: self.node(node)?,
                at: secs.map(|s| self.now.plus_secs(i64::from(s) * 20)),
            },
            Step::DeleteNode(node) => Command::DeleteNode(self.node(node)?),
            Step::Tag { node, tags: t } => Command::TagNode { node: self.node(node)?, tags: tags(t) },
            Step::Approve { node, routes } => {
                Command::ApproveRoutes { node: self.node(node)?, routes: routes_of(routes) }
            }
            Step::OtherPrefixes(v6) => {
                let v6 = Settings::basic().v6.filter(|_| v6);
                self.submit(Command::Configure(Arc::new(Settings { v6, ..(*settings()).clone() })));
                Command::BackfillIps
            }
            Step::Wait(secs) => {
                self.now = self.now.plus_millis(i64::from(secs) * 777);
                return None;
            }
            Step::Fault => {
                self.fault = true;
                return None;
            }
            Step::Reopen => {
                self.flush();
                self.sqlite = None;
                self.sqlite = Some(open(&self.path));
                return None;
            }
        })
    }

    fn waiting(&self) -> Option<String> {
        self.next.tickets().find(|t| t.state == TicketState::Waiting).map(|t| t.id.clone())
    }
}

fn registration(machine: u8, node_key: u8, auth_key: ShownKey, host: u8) -> Registration {
    let old = node_key
        .checked_sub(1)
        .map_or(NodeKey::default(), |k| NodeKey::from_bytes([machine * 16 + k + 1; 32]));
    Registration {
        machine_key: MachineKey::from_bytes([machine + 1; 32]),
        cap: CapVer::FLOOR,
        node_key: NodeKey::from_bytes([machine * 16 + node_key + 1; 32]),
        old_node_key: if host.is_multiple_of(2) { old } else { NodeKey::default() },
        auth_key,
        expiry: None,
        hostinfo: host_with(host, 0.3),
        ephemeral: host.is_multiple_of(5),
        source: None,
    }
}

fn host_with(host: u8, latency: f64) -> Hostinfo {
    let measured = NetInfo {
        preferred_derp: u32::from(host % 4),
        working_udp: [None, Some(true), Some(false)][usize::from(host % 3)],
        derp_latency: [("1-v4".to_owned(), latency), ("2-v6".to_owned(), latency / 3.0)].into(),
        ..NetInfo::default()
    };
    Hostinfo {
        hostname: ["Ann's \u{1f4bb}", "web", "", "db.local\0x"][usize::from(host % 4)].into(),
        os: "linux".into(),
        container: Some(true).filter(|_| host > 99),
        routable_ips: routes_of(host).into_iter().collect(),
        services: vec![Service { proto: "peerapi4".into(), port: 1234, description: String::new() }],
        net_info: Some(measured).filter(|_| !host.is_multiple_of(7)),
        ..Hostinfo::default()
    }
}

fn telling(seed: u8, hostinfo: Option<Hostinfo>) -> Telling {
    let endpoints: Vec<SocketAddr> = vec![
        SocketAddr::from(([192, 0, 2, seed], 41641)),
        SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(seed)], 1)),
    ];
    Telling { hostinfo, endpoints, disco_key: DiscoKey::from_bytes([seed; 32]), cap: CapVer::FLOOR }
}

fn tags(choice: u8) -> BTreeSet<String> {
    (0..choice % 3 + 1).map(|n| format!("tag:t{n}")).collect()
}

fn routes_of(choice: u8) -> BTreeSet<ipnet::IpNet> {
    let all = ["10.1.0.0/16", "0.0.0.0/0", "fd00::/64", "192.0.2.7/32"];
    all.iter()
        .enumerate()
        .filter(|(bit, _)| choice >> bit & 1 == 1)
        .map(|(_, r)| r.parse().unwrap())
        .collect()
}

fn rebuilt(store: &mut dyn Store, revision: Revision) -> Vec<Change> {
    let loaded = store.load().unwrap();
    assert_eq!(loaded.revision, revision);
    let mut tailnet = Tailnet::empty(settings());
    tailnet.apply(&loaded.changes);
    tailnet.dump()
}

/// The rows that replaying the change log gives.
fn replayed(store: &mut dyn Store, revision: Revision) -> Vec<Change> {
    let Since::Commits(commits) = store.since(Revision::default()).unwrap() else {
        panic!("the log is complete")
    };
    let mut tailnet = Tailnet::empty(settings());
    commits.iter().for_each(|commit| tailnet.apply_commit(commit));
    assert_eq!(tailnet.revision(), revision);
    tailnet.dump()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn i4_apply_load_rebuilds_memory(history in proptest::collection::vec((step(), any::<bool>()), 1..120)) {
        // In memory where that is possible: most of the time would go into syncs.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let mut world = World::new(&dir);
        for (step, commit) in history {
            world.take(step);
            if commit {
                world.flush();
            }
        }
        world.flush();
        let (was, revision) = (world.tailnet.dump(), world.revision);
        prop_assert_eq!(rebuilt(&mut world.memory.clone(), revision), was.clone());
        prop_assert_eq!(rebuilt(world.sqlite(), revision), was.clone());
        prop_assert_eq!(replayed(&mut world.memory.clone(), revision), was.clone());
        prop_assert_eq!(replayed(world.sqlite(), revision), was.clone());
        world.sqlite = None;
        prop_assert_eq!(rebuilt(&mut open(&world.path), revision), was);
    }
}
