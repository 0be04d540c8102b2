//! Everything that can happen to a tailnet: each request for a change is a [`Command`].

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use headsail_policy::Role;
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
pub use crate::rejection::{PolicyFindings, Rejection};

/// What [`crate::decide::decide`] knows besides the tailnet.
pub struct Env<'a> {
    pub now: Time,
    /// Fills a buffer with random bytes.
    pub rng: &'a mut dyn FnMut(&mut [u8]),
}

impl Env<'_> {
    pub fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.rng)(&mut bytes);
        bytes
    }
}

/// The pre-auth key in a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShownKey {
    /// No key: an administrator has to approve the login.
    None,
    /// Text that does not have the form of a key.
    Unreadable,
    /// A well-formed key, which may be unknown.
    Key {
        /// The public part.
        prefix: String,
        /// The digest of the secret part.
        digest: KeyDigest,
    },
}

impl ShownKey {
    /// Parses the text of a key. An empty text means no key.
    pub fn of(text: &str) -> ShownKey {
        match parse(AUTH_KEY_PREFIX, text) {
            _ if text.is_empty() => ShownKey::None,
            None => ShownKey::Unreadable,
            Some((prefix, digest)) => ShownKey::Key { prefix, digest },
        }
    }
}

/// A registration, as the client sent it. Its capability version has not been checked yet.
pub struct Registration {
    /// The machine key that authenticated the connection.
    pub machine_key: MachineKey,
    pub cap: CapVer,
    /// The key to authorise.
    pub node_key: NodeKey,
    /// The key that the node had before; zero for none.
    pub old_node_key: NodeKey,
    pub auth_key: ShownKey,
    /// The expiry that the client requests. A time in the past logs the node out.
    pub expiry: Option<Time>,
    /// If it is empty, the stored hostinfo stays as it is.
    pub hostinfo: Hostinfo,
    /// Whether to delete the node some time after it goes offline.
    pub ephemeral: bool,
    /// The source address of the connection, if the request came over one.
    pub source: Option<IpAddr>,
}

/// What a client reports about itself in a map request.
#[derive(Clone, Debug, Default)]
pub struct Telling {
    /// If it is `None` or empty, the stored hostinfo stays as it is.
    pub hostinfo: Option<Hostinfo>,
    pub endpoints: Vec<SocketAddr>,
    /// Zero for none.
    pub disco_key: DiscoKey,
    /// 0 leaves the stored version as it is.
    pub cap: CapVer,
}

impl Telling {
    /// The parts that say where the client can be reached, without those that change the row of its node.
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

/// A new pre-auth key, whose text [`crate::model::key::mint`] generated.
pub struct NewAuthKey {
    /// The public part.
    pub prefix: String,
    /// The digest of the secret part.
    pub digest: KeyDigest,
    /// The owner of the nodes that register with it, unless it has tags.
    pub user: Option<UserId>,
    /// The tags of the nodes that register with it.
    pub tags: BTreeSet<String>,
    /// Whether it can register more than one machine.
    pub reusable: bool,
    /// Whether its nodes are ephemeral.
    pub ephemeral: bool,
    /// `None` never expires.
    pub expiration: Option<Time>,
}

/// A new local user.
#[derive(Clone, Debug, Default)]
pub struct NewUser {
    /// The login name, which is unique.
    pub name: String,
    pub display_name: String,
    pub email: String,
    pub picture_url: String,
}

/// Everything that can happen to a tailnet. Wherever a command lists routes, either default route stands for both.
pub enum Command {
    /// A machine registers, logs out, or shortens its expiry.
    Register(Box<Registration>),
    /// A client reports its state: a lite update.
    MapUpdate {
        /// A node of the machine that sent the request (see [`crate::decide::map_update::node_of`]).
        node: NodeId,
        telling: Box<Telling>,
    },
    /// A client opens a map stream.
    StreamOpened {
        node: NodeId,
        stream: StreamNo,
        /// Each part is used only if nothing is known in its place yet.
        telling: Box<Telling>,
    },
    /// A map stream has ended.
    StreamClosed {
        node: NodeId,
        /// If a newer stream has superseded it, the command is a no-op.
        stream: StreamNo,
    },
    /// A graceful shutdown: all nodes that are connected were last seen now.
    Shutdown,
    /// A row is due. There is one command for each row, so that if the store refuses, the rows that need it do not delay others.
    Due(Due),
    /// The configuration changed.
    Configure(Arc<Settings>),

    /// Approves a pending login.
    GrantTicket {
        ticket: String,
        /// The owner of the node.
        user: UserId,
    },
    /// Denies a pending login.
    RefuseTicket {
        ticket: String,
    },
    /// Creates a pending login without a machine, for testing.
    MakeTicket {
        /// An id that the caller chose; it starts with [`crate::model::ticket::TICKET_PREFIX`].
        ticket: String,
        /// The machine that seems to have requested it.
        asking: Box<Asking>,
    },

    CreateUser(NewUser),
    RenameUser {
        user: UserId,
        name: String,
    },
    SetRole {
        user: UserId,
        /// At most one user is the owner.
        role: Role,
    },
    /// Deletes a user and its pre-auth keys. A user that owns nodes cannot be deleted.
    DestroyUser(UserId),

    CreateAuthKey(Box<NewAuthKey>),
    /// Revokes a pre-auth key.
    ExpireAuthKey(AuthKeyId),
    /// Deletes a pre-auth key. Nodes that registered with it stay.
    DeleteAuthKey(AuthKeyId),

    CreateApiKey {
        /// The public part.
        prefix: String,
        /// The digest of the secret part.
        digest: KeyDigest,
        /// `None` never expires.
        expiration: Option<Time>,
    },
    /// Revokes an API key.
    ExpireApiKey(ApiKeyId),
    DeleteApiKey(ApiKeyId),
    /// Records that an API key was used.
    ApiKeyUsed(ApiKeyId),

    /// Gives a node a name that no longer follows its hostname.
    RenameNode {
        node: NodeId,
        /// A DNS label.
        name: String,
    },
    /// Sets when a node's key expires.
    ExpireNode {
        node: NodeId,
        /// A time in the past or future; `None` means never.
        at: Option<Time>,
    },
    DeleteNode(NodeId),
    /// Makes tags the owner of a node, in place of a user or other tags.
    TagNode {
        node: NodeId,
        /// Each with its prefix `tag:`.
        tags: BTreeSet<String>,
    },
    /// Replaces a node's approved routes.
    ApproveRoutes {
        node: NodeId,
        routes: BTreeSet<IpNet>,
    },
    /// Approves some of a node's routes and withdraws the approval of others. The rest stay as they are.
    EditRoutes {
        node: NodeId,
        approve: BTreeSet<IpNet>,
        withdraw: BTreeSet<IpNet>,
    },
    /// A node asks whether to allow an SSH session to it.
    AskSsh {
        src: NodeId,
        /// The node that asks.
        dst: NodeId,
        /// The local user name on the destination.
        account: String,
    },
    /// Approves an SSH check.
    GrantSsh {
        check: String,
    },
    /// Denies an SSH check.
    RefuseSsh {
        check: String,
    },
    /// Replaces the policy.
    SetPolicy {
        text: String,
        /// Whether the database keeps it. Otherwise it is read from a file at every start.
        kept: bool,
    },
    /// Assigns the addresses that nodes lack under the configured prefixes, and removes those outside of them.
    BackfillIps,
}
