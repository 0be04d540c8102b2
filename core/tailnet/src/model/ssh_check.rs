//! SSH sessions that need a person's consent (`action: check` in the policy).

use headsail_wire::ids::NodeId;
use headsail_wire::time::Time;

use crate::model::ticket::TicketState;

/// How many checks are kept at most; the oldest give way.
pub const MAX_SSH_CHECKS: usize = 4096;

/// One node's wish to log in to another, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct SshCheck {
    /// Like the id of a ticket.
    pub id: String,
    /// Where the session comes from.
    pub src: NodeId,
    /// Where it goes; only this node may ask.
    pub dst: NodeId,
    /// The account on the destination.
    pub account: String,
    /// How far it has come.
    pub state: TicketState,
    /// When it is forgotten: a granted one is good for further sessions until then.
    pub until: Time,
}
