//! The parts of the server that the world uses. Tests can replace each with a broken one.

use std::sync::Arc;

use headsail_netmap::{NetMap, diff};
use headsail_tailnet::change::Change;
use headsail_tailnet::command::{Command, Env, Rejection};
use headsail_tailnet::commit::{Commit, Revision, Since};
use headsail_tailnet::deadline::Deadlines;
use headsail_tailnet::decide::{self, map_update};
use headsail_tailnet::delta::{Delta, Step};
use headsail_tailnet::feed::{Feed, News};
use headsail_tailnet::model::node::{Presence, StreamNo};
use headsail_tailnet::project;
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::ids::NodeId;
use headsail_wire::keys::{MachineKey, NodeKey};
use headsail_wire::map::MapResponse;

use crate::disk::{self, Disk, Written};

/// The functions that the world calls where the server calls them.
#[derive(Clone, Copy)]
pub struct Parts {
    pub decide: fn(&Tailnet, &Command, &mut Env<'_>) -> Result<Vec<Change>, Rejection>,
    /// The node that a map request acts for.
    pub node_of: fn(&Tailnet, &MachineKey, &NodeKey) -> Result<NodeId, Rejection>,
    /// Everything that a node should know.
    pub project: fn(&Tailnet, NodeId) -> Option<NetMap>,
    /// The first frame of a stream.
    pub first: fn(&NetMap) -> MapResponse,
    /// The frames after it.
    pub delta: fn(&Tailnet, &Tailnet, NodeId) -> Delta,
    /// Whether a delta is specific to its viewer, rather than shared by its class.
    pub is_own: fn(&Tailnet, &Tailnet, NodeId) -> bool,
    /// Whether a stream ends because its node has this presence.
    pub is_superseded: fn(Presence, StreamNo) -> bool,
    /// Updates the deadlines after a commit.
    pub note: fn(&mut Deadlines, &Tailnet, &Commit),
    /// What a writer reads after a conflict.
    pub catch_up: fn(&Disk, Revision) -> Since,
    /// What a follower reads after the snapshot of a version.
    pub news: fn(&Feed, u64) -> News,
    /// What the server makes of the rows on disk at startup.
    pub load: fn(Vec<Change>) -> Vec<Change>,
    /// Whether a commit is synced before it is acknowledged.
    pub is_synced: fn(&Commit) -> bool,
    /// What a restart makes of commits that a power cut may have torn.
    pub recover: fn(Vec<Written>) -> Vec<Commit>,
    /// Whether changes are committed before they are published.
    pub commits_first: bool,
    /// Whether the end of a stream names that stream, even if a newer one has superseded it.
    pub ends_by_number: bool,
}

/// Whether a node is online because of this stream.
pub fn is_of(presence: Presence, no: StreamNo) -> bool {
    matches!(presence, Presence::Online { stream, .. } if stream == no)
}

fn step(then: &Tailnet, now: &Tailnet) -> Step {
    Step::new(Arc::new(then.clone()), Arc::new(now.clone()))
}

impl Parts {
    /// The parts of the server.
    pub fn real() -> Parts {
        Parts {
            decide: |tailnet, command, env| decide::decide(tailnet, command, env),
            node_of: |tailnet, machine, key| map_update::node_of(tailnet, machine, key).map(|n| n.id),
            project: project::project,
            first: diff::full,
            delta: |then, now, viewer| step(then, now).delta(viewer),
            is_own: |then, now, viewer| step(then, now).tells_of_itself(viewer),
            is_superseded: |presence, no| !is_of(presence, no),
            note: |deadlines, tailnet, commit| deadlines.note(tailnet, commit.changes()),
            catch_up: Disk::since,
            news: Feed::since,
            load: |rows| rows,
            is_synced: Commit::is_durable,
            recover: disk::recover,
            commits_first: true,
            ends_by_number: true,
        }
    }
}
