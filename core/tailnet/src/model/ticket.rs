//! Logins that wait for a person.

use std::sync::Arc;

use headsail_wire::capver::CapVer;
use headsail_wire::hostinfo::Hostinfo;
use headsail_wire::keys::{MachineKey, NodeKey};
use headsail_wire::time::Time;

/// What the text of a ticket's id starts with.
pub const TICKET_PREFIX: &str = "hskey-authreq-";
/// How many characters follow the prefix.
pub const TICKET_LEN: usize = 24;

/// Makes a ticket id of 12 random bytes: 38 characters, unguessable.
pub fn ticket_id(random: &[u8; 12]) -> String {
    format!("{TICKET_PREFIX}{}", headsail_wire::keys::hex(random))
}

/// A machine that asks to come in without a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Asking {
    /// The machine; nobody else may take the answer.
    pub machine_key: MachineKey,
    /// The key to authorise.
    pub node_key: NodeKey,
    /// The key that the node had before, zero for none.
    pub old_node_key: NodeKey,
    /// The host.
    pub hostinfo: Arc<Hostinfo>,
    /// The client's capability version.
    pub cap: CapVer,
    /// Whether the node is to vanish when it goes offline.
    pub ephemeral: bool,
    /// The expiry that the client asked for.
    pub expiry: Option<Time>,
}

/// How far a login has come.
#[derive(Clone, Debug, PartialEq)]
pub enum TicketState {
    /// Nobody has decided.
    Waiting,
    /// The machine is in.
    Granted,
    /// Somebody said no; the text is for the user.
    Refused(String),
}

/// A login that waits for a person, or did.
#[derive(Clone, Debug, PartialEq)]
pub struct Ticket {
    /// `hskey-authreq-` and 24 hex digits.
    pub id: String,
    /// Who asks for what.
    pub asking: Asking,
    /// How far it has come.
    pub state: TicketState,
    /// When it is forgotten.
    pub until: Time,
}
