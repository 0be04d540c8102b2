//! SSH sessions that a person has to approve (`action: check` in the policy).

use headsail_wire::ids::NodeId;
use headsail_wire::time::Time;

use crate::model::ticket::TicketState;

/// How many checks are kept; beyond it, the oldest is dropped.
pub const MAX_SSH_CHECKS: usize = 4096;

/// A request to log in from one node to another by SSH, and its outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct SshCheck {
    /// Has the form of a ticket's id.
    pub id: String,
    pub src: NodeId,
    /// The destination; only this node may ask for the outcome.
    pub dst: NodeId,
    /// The account on the destination.
    pub account: String,
    pub state: TicketState,
    /// When the check is deleted. Until then, an approved one covers further sessions.
    pub until: Time,
}
