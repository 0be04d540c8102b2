//! Every intention that can reach a tailnet, and the ways to be turned down.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;

use headsail_policy::{Diagnostic, Refusal, Role, TestFailure};
use headsail_wire::capver::CapVer;
use headsail_wire::hostinfo::Hostinfo;
use headsail_wire::ids::{ApiKeyId, AuthKeyId, NodeId, UserId};
use headsail_wire::keys::{DiscoKey, MachineKey, NodeKey};
use headsail_wire::time::Time;
use ipnet::IpNet;

use crate::deadline::Due;
use crate::model::key::{AUTH_KEY_PREFIX, KeyDigest, parse};
use crate::model::node::StreamNo;
use crate::model::settings::Settings;
use crate::model::ticket::Asking;

/// What `decide` may look at beside the tailnet.
pub struct Env<'a> {
    /// The time.
    pub now: Time,
    /// Chance: fills a buffer with random bytes.
    pub rng: &'a mut dyn FnMut(&mut [u8]),
}

impl Env<'_> {
    /// `N` random bytes.
    pub fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.rng)(&mut bytes);
        bytes
    }
}

/// The auth key that a machine shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShownKey {
    /// None: a person has to let the machine in.
    None,
    /// A text that is no key.
    Unreadable,
    /// A key, known or not.
    Key {
        /// Public part.
        prefix: String,
        /// Digest of the secret part.
        digest: KeyDigest,
    },
}

impl ShownKey {
    /// Takes the text of a key apart; an empty one is none.
    pub fn of(text: &str) -> ShownKey {
        match parse(AUTH_KEY_PREFIX, text) {
            _ if text.is_empty() => ShownKey::None,
            None => ShownKey::Unreadable,
            Some((prefix, digest)) => ShownKey::Key { prefix, digest },
        }
    }
}

/// A machine that registers. Its capability version was checked by nobody yet.
pub struct Registration {
    /// The machine key of the connection.
    pub machine_key: MachineKey,
    /// The client's capability version.
    pub cap: CapVer,
    /// The key to authorise.
    pub node_key: NodeKey,
    /// The key that the node had before, zero for none.
    pub old_node_key: NodeKey,
    /// The auth key that it shows.
    pub auth_key: ShownKey,
    /// The expiry that the client asks for; in the past to log out.
    pub expiry: Option<Time>,
    /// The host; an empty one tells nothing and leaves everything as it was.
    pub hostinfo: Hostinfo,
    /// Whether the node is to vanish when it goes offline.
    pub ephemeral: bool,
}

/// What a client tells of itself with a map request.
#[derive(Clone, Debug, Default)]
pub struct Telling {
    /// The host; none, or an empty one, leaves it as it was.
    pub hostinfo: Option<Hostinfo>,
    /// Where it can be reached.
    pub endpoints: Vec<SocketAddr>,
    /// Discovery key, zero for none.
    pub disco_key: DiscoKey,
    /// The client's capability version; 0 leaves it as it was.
    pub cap: CapVer,
}

impl Telling {
    /// The parts that say where the client can be reached, and change no row of its node.
    #[must_use]
    pub fn contact(&self) -> Telling {
        let net_info = self.hostinfo.as_ref().and_then(|host| host.net_info.clone());
        Telling {
            hostinfo: net_info.map(|net_info| Hostinfo { net_info: Some(net_info), ..Hostinfo::default() }),
            endpoints: self.endpoints.clone(),
            disco_key: self.disco_key,
            cap: CapVer::default(),
        }
    }
}

/// A new auth key; its text was made by [`crate::model::key::mint`].
pub struct NewAuthKey {
    /// Public part.
    pub prefix: String,
    /// Digest of the secret part.
    pub digest: KeyDigest,
    /// Owner of its nodes.
    pub user: Option<UserId>,
    /// Tags of its nodes.
    pub tags: BTreeSet<String>,
    /// Whether it registers more than one machine.
    pub reusable: bool,
    /// Whether its nodes vanish when they go offline.
    pub ephemeral: bool,
    /// `None` never expires.
    pub expiration: Option<Time>,
}

/// A new local user.
#[derive(Clone, Debug, Default)]
pub struct NewUser {
    /// Login name.
    pub name: String,
    /// Name for people.
    pub display_name: String,
    /// E-mail address.
    pub email: String,
    /// Picture.
    pub picture_url: String,
}

/// Everything that may happen.
pub enum Command {
    /// A machine registers, logs out, or shortens its expiry.
    Register(Box<Registration>),
    /// A client tells of itself: a lite update.
    MapUpdate {
        /// The node; it belongs to the machine that asks (see [`crate::decide::map_update::node_of`]).
        node: NodeId,
        /// What it tells.
        telling: Box<Telling>,
    },
    /// A client opens a map stream.
    StreamOpened {
        /// The node.
        node: NodeId,
        /// The stream.
        stream: StreamNo,
        /// What it tells; each part counts only where nothing is known yet.
        telling: Box<Telling>,
    },
    /// A map stream has ended.
    StreamClosed {
        /// The node.
        node: NodeId,
        /// The stream; one that was superseded says nothing of the node.
        stream: StreamNo,
    },
    /// The server stops politely: whoever is connected was last seen now.
    Shutdown,
    /// The time of a row has come. One command for each row: where the disk refuses, those that need it hold up no others.
    Due(Due),
    /// The configuration changed.
    Configure(Arc<Settings>),

    /// A login is granted to a user.
    GrantTicket {
        /// Id of the ticket.
        ticket: String,
        /// Owner of the node.
        user: UserId,
    },
    /// A login is refused.
    RefuseTicket {
        /// Id of the ticket.
        ticket: String,
    },
    /// A login is made up under an id that its maker chose, as if a machine had asked.
    MakeTicket {
        /// Id of the ticket, see [`crate::model::ticket::TICKET_PREFIX`].
        ticket: String,
        /// Who seems to ask.
        asking: Box<Asking>,
    },

    /// A new user.
    CreateUser(NewUser),
    /// A user gets another name.
    RenameUser {
        /// The user.
        user: UserId,
        /// The name.
        name: String,
    },
    /// A user gets another role.
    SetRole {
        /// The user.
        user: UserId,
        /// The role; at most one user is the owner.
        role: Role,
    },
    /// A user goes, with all its keys; only without nodes.
    DestroyUser(UserId),

    /// A new auth key.
    CreateAuthKey(Box<NewAuthKey>),
    /// An auth key is good no more.
    ExpireAuthKey(AuthKeyId),
    /// An auth key goes; its nodes stay.
    DeleteAuthKey(AuthKeyId),

    /// A new API key.
    CreateApiKey {
        /// Public part.
        prefix: String,
        /// Digest of the secret part.
        digest: KeyDigest,
        /// `None` never expires.
        expiration: Option<Time>,
    },
    /// An API key is good no more.
    ExpireApiKey(ApiKeyId),
    /// An API key goes.
    DeleteApiKey(ApiKeyId),
    /// An API key was used.
    ApiKeyUsed(ApiKeyId),

    /// A node gets a name of its own.
    RenameNode {
        /// The node.
        node: NodeId,
        /// The label.
        name: String,
    },
    /// A node's key expires at a time, past or future, or never.
    ExpireNode {
        /// The node.
        node: NodeId,
        /// `None` is never.
        at: Option<Time>,
    },
    /// A node goes.
    DeleteNode(NodeId),
    /// A node gets tags instead of its owner.
    TagNode {
        /// The node.
        node: NodeId,
        /// The tags, each with its `tag:`.
        tags: BTreeSet<String>,
    },
    /// The routes of a node that are approved, all of them.
    ApproveRoutes {
        /// The node.
        node: NodeId,
        /// The prefixes; one default route stands for both.
        routes: BTreeSet<IpNet>,
    },
    /// Some routes of a node are approved, others no more; the rest stay as they are.
    EditRoutes {
        /// The node.
        node: NodeId,
        /// The prefixes to approve; one default route stands for both.
        approve: BTreeSet<IpNet>,
        /// The prefixes to take the approval from; one default route stands for both.
        withdraw: BTreeSet<IpNet>,
    },
    /// A node asks whether an SSH session to it is allowed.
    AskSsh {
        /// Where the session comes from.
        src: NodeId,
        /// The node that asks.
        dst: NodeId,
        /// The account.
        account: String,
    },
    /// A person allows an SSH session.
    GrantSsh {
        /// Id of the check.
        check: String,
    },
    /// A person refuses an SSH session.
    RefuseSsh {
        /// Id of the check.
        check: String,
    },
    /// Another policy.
    SetPolicy {
        /// Its text.
        text: String,
        /// Whether it is kept in the database; else it is read from a file at every start.
        kept: bool,
    },
    /// Addresses that the prefixes ask for and nodes lack, and the other way round.
    BackfillIps,
}

/// What is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFindings {
    /// Faults of the text.
    pub diagnostics: Vec<Diagnostic>,
    /// Tests of the policy that fail.
    pub tests: Vec<TestFailure>,
}

impl PolicyFindings {
    /// One line for each fault.
    pub fn text(&self) -> String {
        let refusal = Refusal { diagnostics: self.diagnostics.clone() }.to_string();
        let failed = self.tests.iter().map(TestFailure::to_string);
        let heading = (!self.tests.is_empty()).then(|| "test(s) failed".to_owned());
        Some(refusal)
            .filter(|r| !r.is_empty())
            .into_iter()
            .chain(heading)
            .chain(failed)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// Why something does not happen: the asker's fault, or its situation. The text is for the asker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The request makes no sense.
    Invalid(String),
    /// What it names isn't there.
    NotFound(String),
    /// It collides with something that is there.
    Conflict(String),
    /// The node key belongs to another machine.
    Foreign,
    /// The client's version is below the floor.
    TooOld(CapVer),
    /// The login is refused; shown to the user word for word.
    Refused(String),
    /// The node's key has expired: the client has to make a new one.
    KeyExpired,
    /// The machine changes its node too often.
    TooOften,
    /// There is no more room; the text says where.
    Full(String),
    /// A policy that can't hold: everything that is wrong with it.
    BadPolicy(PolicyFindings),
}

impl Rejection {
    /// There is no such node.
    pub fn no_node(id: impl Display) -> Rejection {
        Rejection::NotFound(format!("there is no node with id `{id}`"))
    }

    /// There is no such user.
    pub fn no_user(id: impl Display) -> Rejection {
        Rejection::NotFound(format!("there is no user with id `{id}`"))
    }

    /// There is no such auth key.
    pub fn no_auth_key(id: impl Display) -> Rejection {
        Rejection::NotFound(format!("there is no auth key with id `{id}`"))
    }

    /// There is no such API key.
    pub fn no_api_key(id: impl Display) -> Rejection {
        Rejection::NotFound(format!("there is no API key with id `{id}`"))
    }

    /// There is no such login.
    pub fn no_login(id: impl Display) -> Rejection {
        Rejection::NotFound(format!("no login waits under `{id}`; it may have timed out: log in again"))
    }

    /// There is no such SSH session that waits for a person.
    pub fn no_session(id: impl Display) -> Rejection {
        Rejection::NotFound(format!("no session waits under `{id}`; it may have timed out: start it again"))
    }

    /// The text for the asker.
    pub fn text(&self) -> String {
        match self {
            Rejection::Invalid(t)
            | Rejection::NotFound(t)
            | Rejection::Conflict(t)
            | Rejection::Refused(t)
            | Rejection::Full(t) => t.clone(),
            Rejection::BadPolicy(faults) => faults.text(),
            Rejection::Foreign => {
                "this node key belongs to another machine; log in again to get one of your own".into()
            }
            Rejection::TooOld(v) => format!(
                "this client is too old (capability version {v}): update it to {} or later",
                CapVer::FLOOR_RELEASE
            ),
            Rejection::TooOften => "this machine changes its node too often; try again in a while".into(),
            Rejection::KeyExpired => "the node key has expired; log in again".into(),
        }
    }
}
