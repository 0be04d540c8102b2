//! Logins that a person has to approve.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use headsail_wire::capver::CapVer;
use headsail_wire::hostinfo::Hostinfo;
use headsail_wire::keys::{MachineKey, NodeKey};
use headsail_wire::time::Time;
use ipnet::IpNet;

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
    /// The source address of the connection that made the request, if it came over one.
    pub source: Option<IpAddr>,
}

impl Asking {
    /// Whether two requests are the same to the person who decides: all that is shown to that person, and all that an
    /// approval grants. Where a request comes from may change, because machines roam.
    pub fn same_as(&self, other: &Asking) -> bool {
        let keys = |a: &Asking| (a.machine_key, a.node_key, a.old_node_key);
        let wish = |a: &Asking| (a.ephemeral, a.expiry);
        keys(self) == keys(other) && wish(self) == wish(other) && self.same_host_as(&other.hostinfo)
    }

    /// Whether a host asks for the same tags and routes under the same name and system. An empty report says nothing.
    pub fn same_host_as(&self, told: &Hostinfo) -> bool {
        let known = &*self.hostinfo;
        let tags = |h: &Hostinfo| h.request_tags.iter().cloned().collect::<BTreeSet<_>>();
        let routes = |h: &Hostinfo| h.routable_ips.iter().map(IpNet::trunc).collect::<BTreeSet<_>>();
        *told == Hostinfo::default()
            || (known.hostname == told.hostname
                && known.os == told.os
                && tags(known) == tags(told)
                && routes(known) == routes(told))
    }

    /// What people compare to recognise a machine: the first 16 hex digits of its machine key. Finding another key with
    /// the same 64 bits is out of reach.
    pub fn fingerprint(&self) -> String {
        headsail_wire::keys::hex(&self.machine_key.bytes()[..8])
    }
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

/// A login, pending or settled. What it asks for never changes, so that what a person has seen is what an approval grants.
#[derive(Clone, Debug, PartialEq)]
pub struct Ticket {
    /// `hskey-authreq-` and 24 hex digits.
    pub id: String,
    pub asking: Asking,
    pub state: TicketState,
    /// Whether the machine had another request pending when it made this one. Then its keys do not tell which of the
    /// requests a person has seen.
    pub replaces: bool,
    /// When the ticket is deleted, whatever its state.
    pub until: Time,
}
