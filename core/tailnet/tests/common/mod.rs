//! Fixture of the tests: a small tailnet with a clock, and clients for it.
#![allow(dead_code, reason = "each test crate uses a different part")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use headsail_netmap::NetMap;
use headsail_tailnet::change::Change;
use headsail_tailnet::command::{
    Command, Env, NewAuthKey, NewUser, Registration, Rejection, ShownKey, Telling,
};
use headsail_tailnet::deadline::Deadlines;
use headsail_tailnet::decide::decide;
use headsail_tailnet::delta::{Delta, Step};
use headsail_tailnet::model::key::{AUTH_KEY_PREFIX, mint};
use headsail_tailnet::model::node::{Node, StreamNo};
use headsail_tailnet::model::settings::Settings;
use headsail_tailnet::model::ticket::{Ticket, TicketState};
use headsail_tailnet::project::project;
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::capver::CapVer;
use headsail_wire::hostinfo::{Hostinfo, NetInfo};
use headsail_wire::ids::{AuthKeyId, NodeId, UserId};
use headsail_wire::keys::{DiscoKey, MachineKey, NodeKey};
use headsail_wire::map::MapResponse;
use headsail_wire::time::Time;

/// A tailnet with its clock and a deterministic source of randomness.
pub struct Town {
    pub t: Tailnet,
    pub now: Time,
    chance: u8,
}

/// A pre-auth key with its text.
pub struct Shown {
    pub id: AuthKeyId,
    pub text: String,
}

impl Town {
    pub fn new() -> Town {
        Town::with(|_| {})
    }

    pub fn with(edit: impl FnOnce(&mut Settings)) -> Town {
        let mut settings = Settings::basic();
        edit(&mut settings);
        Town { t: Tailnet::empty(Arc::new(settings)), now: Time::from_secs(1_750_000_000), chance: 0 }
    }

    /// Decides a command and applies its changes.
    pub fn try_to(&mut self, command: Command) -> Result<Vec<Change>, Rejection> {
        let mut fill = |buffer: &mut [u8]| {
            self.chance = self.chance.wrapping_add(1);
            buffer
                .iter_mut()
                .enumerate()
                .for_each(|(i, b)| *b = self.chance.wrapping_mul(31).wrapping_add(i as u8));
        };
        let changes = decide(&self.t, &command, &mut Env { now: self.now, rng: &mut fill })?;
        self.t.apply(&changes);
        Ok(changes)
    }

    pub fn make(&mut self, command: Command) {
        self.try_to(command).expect("the command is accepted");
    }

    pub fn user(&mut self, name: &str) -> UserId {
        self.make(Command::CreateUser(NewUser { name: name.into(), ..NewUser::default() }));
        self.t.users().find(|u| u.name == name).expect("the user is there").id
    }

    /// Creates a key: unless `edit` changes it, a reusable one without tags that never expires.
    pub fn key(&mut self, user: UserId, edit: impl FnOnce(&mut NewAuthKey)) -> Shown {
        let count = self.t.auth_keys().count() as u8;
        let key = mint(AUTH_KEY_PREFIX, &[count + 1; 44]);
        let mut new = NewAuthKey {
            prefix: key.prefix.clone(),
            digest: key.digest,
            user: Some(user),
            tags: BTreeSet::new(),
            reusable: true,
            ephemeral: false,
            expiration: None,
        };
        edit(&mut new);
        self.make(Command::CreateAuthKey(Box::new(new)));
        Shown { id: self.t.auth_key_by_prefix(&key.prefix).expect("the key is there").id, text: key.text }
    }

    /// Sets a policy that allows everything and defines these tags.
    pub fn has_tags(&mut self, all: &[&str]) {
        let owners: Vec<String> = all.iter().map(|tag| format!(r#""{tag}": []"#)).collect();
        let text = format!(
            r#"{{"acls": [{{"action": "accept", "src": ["*"], "dst": ["*:*"]}}], "tagOwners": {{{}}}}}"#,
            owners.join(", ")
        );
        self.make(Command::SetPolicy { text, kept: true });
    }

    pub fn register(&mut self, registration: Registration) -> Result<Vec<Change>, Rejection> {
        self.try_to(Command::Register(Box::new(registration)))
    }

    /// Registers with a key and returns the node.
    pub fn join(&mut self, client: &Client, key: &Shown) -> Arc<Node> {
        self.register(client.shows(&key.text)).expect("the key lets the client in");
        self.node(client)
    }

    /// The node that has a client's current key.
    pub fn node(&self, client: &Client) -> Arc<Node> {
        self.t.node_by_key(&client.node).expect("the client has a node").clone()
    }

    pub fn is_in(&self, client: &Client) -> bool {
        self.t.node_by_key(&client.node).is_some()
    }

    /// The only pending login.
    pub fn waiting(&self) -> Arc<Ticket> {
        let mut all = self.t.tickets().filter(|k| k.state == TicketState::Waiting);
        let ticket = all.next().expect("a login is pending").clone();
        assert!(all.next().is_none(), "only one login is pending");
        ticket
    }

    pub fn open(&mut self, client: &Client, stream: u64) {
        let node = self.node(client).id;
        self.make(Command::StreamOpened {
            node,
            stream: StreamNo(stream),
            telling: Box::new(client.tells()),
        });
    }

    pub fn close(&mut self, client: &Client, stream: u64) {
        let node = self.node(client).id;
        self.make(Command::StreamClosed { node, stream: StreamNo(stream) });
    }

    pub fn lite_update(&mut self, client: &Client) {
        let node = self.node(client).id;
        self.make(Command::MapUpdate { node, telling: Box::new(client.tells()) });
    }

    /// Advances the clock, and handles each deadline when it is due.
    pub fn pass(&mut self, seconds: i64) {
        let until = self.now.plus_secs(seconds);
        while let Some(at) = Deadlines::of(&self.t).deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            for row in Deadlines::of(&self.t).due(self.now, 100) {
                self.make(Command::Due(row));
            }
        }
        self.now = until;
    }

    pub fn map(&self, client: &Client) -> NetMap {
        project(&self.t, self.node(client).id).expect("the node has a view")
    }

    /// The frame that a client gets that is up to date with `then`.
    pub fn told_since(&self, then: &Tailnet, viewer: NodeId) -> MapResponse {
        match step(then, &self.t).delta(viewer) {
            Delta::Nothing => MapResponse::default(),
            Delta::Frame(frame) => *frame,
            Delta::Gone => panic!("the viewer was deleted"),
        }
    }
}

/// A machine with a client on it.
#[derive(Clone)]
pub struct Client {
    pub machine: MachineKey,
    pub node: NodeKey,
    pub old: NodeKey,
    pub host: Hostinfo,
    pub cap: CapVer,
    pub disco: DiscoKey,
    pub endpoints: Vec<std::net::SocketAddr>,
    pub source: Option<IpAddr>,
}

impl Client {
    pub fn new(number: u8, hostname: &str) -> Client {
        Client {
            machine: MachineKey::from_bytes([number; 32]),
            node: NodeKey::from_bytes([number; 32]),
            old: NodeKey::default(),
            host: Hostinfo { hostname: hostname.into(), ..Hostinfo::default() },
            cap: CapVer(120),
            disco: DiscoKey::default(),
            endpoints: Vec::new(),
            source: None,
        }
    }

    /// The same machine after it has rotated its node key.
    pub fn rotated(&self, number: u8) -> Client {
        Client { node: NodeKey::from_bytes([number; 32]), old: self.node, ..self.clone() }
    }

    pub fn shows(&self, key_text: &str) -> Registration {
        Registration { auth_key: ShownKey::of(key_text), ..self.asks() }
    }

    /// A registration without a pre-auth key.
    pub fn asks(&self) -> Registration {
        Registration {
            machine_key: self.machine,
            cap: self.cap,
            node_key: self.node,
            old_node_key: self.old,
            auth_key: ShownKey::None,
            expiry: None,
            hostinfo: self.host.clone(),
            ephemeral: false,
            source: self.source,
        }
    }

    /// The request that logs the client out.
    pub fn logs_out(&self) -> Registration {
        Registration { expiry: Some(Time::from_secs(123)), ..self.asks() }
    }

    pub fn at_relay(mut self, region: u32) -> Client {
        self.host.net_info = Some(NetInfo { preferred_derp: region, ..NetInfo::default() });
        self
    }

    pub fn at(mut self, endpoint: &str) -> Client {
        self.endpoints = vec![endpoint.parse().expect("an address and a port")];
        self
    }

    pub fn with_disco(mut self, number: u8) -> Client {
        self.disco = DiscoKey::from_bytes([number; 32]);
        self
    }

    /// The same client at another source address.
    pub fn located_at(mut self, address: &str) -> Client {
        self.source = Some(address.parse().expect("an IP address"));
        self
    }

    pub fn asking_for(mut self, tags: &[&str]) -> Client {
        self.host.request_tags = tags.iter().map(|t| (*t).to_owned()).collect();
        self
    }

    pub fn tells(&self) -> Telling {
        Telling {
            hostinfo: Some(self.host.clone()),
            endpoints: self.endpoints.clone(),
            disco_key: self.disco,
            cap: self.cap,
        }
    }
}

/// The step from one snapshot to another.
pub fn step(then: &Tailnet, now: &Tailnet) -> Step {
    Step::new(Arc::new(then.clone()), Arc::new(now.clone()))
}

/// Tags as a set.
pub fn tags(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|t| (*t).to_owned()).collect()
}

/// The text of a rejection.
pub fn words<T: std::fmt::Debug>(outcome: Result<T, Rejection>) -> String {
    outcome.expect_err("the command is rejected").text()
}
