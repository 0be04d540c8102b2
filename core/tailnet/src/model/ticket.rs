//! Logins that a person has to approve.

use std::sync::Arc;

use headsail_wire::capver::CapVer;
use headsail_wire::hostinfo::Hostinfo;
use headsail_wire::keys::{MachineKey, NodeKey};
use headsail_wire::time::Time;

pub const TICKET_PREFIX: &str = "hskey-authreq-";
/// The number of characters after the prefix of a ticket's id.
pub const TICKET_LEN: usize = 24;

/// Creates an unguessable ticket id of 38 characters from 12 random bytes.
pub fn ticket_id(random: &[u8; 12]) -> String {
    format!("{TICKET_PREFIX}{}", headsail_wire::keys::hex(random))
}

/// A machine's request to register without a pre-auth key.
#[derive(Clone, Debug, PartialEq)]
pub struct Asking {
    /// The machine; only it learns the outcome.
    pub machine_key: MachineKey,
    /// The node key to authorise.
    pub node_key: NodeKey,
    /// The node's previous key; zero for none.
    pub old_node_key: NodeKey,
    pub hostinfo: Arc<Hostinfo>,
    pub cap: CapVer,
    /// Whether the node should be deleted some time after it goes offline.
    pub ephemeral: bool,
    /// The expiry that the client requested.
    pub expiry: Option<Time>,
}

/// Whether a login or an SSH session was approved.
#[derive(Clone, Debug, PartialEq)]
pub enum TicketState {
    /// No decision yet.
    Waiting,
    /// Approved.
    Granted,
    /// Denied, with a message for the user.
    Refused(String),
}

/// A login, pending or settled.
#[derive(Clone, Debug, PartialEq)]
pub struct Ticket {
    /// `hskey-authreq-` and 24 hex digits.
    pub id: String,
    pub asking: Asking,
    pub state: TicketState,
    /// When the ticket is deleted, whatever its state.
    pub until: Time,
}
