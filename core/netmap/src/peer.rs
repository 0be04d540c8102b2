//! The difference of two views of a peer, in the cheapest form that loses nothing on the client.

use headsail_wire::map::{Node, PeerChange};

/// The difference of two views of a peer.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerDiff {
    Same,
    /// A patch is enough. Clients apply changes of endpoints, home relay, online and last seen without rebuilding their
    /// map.
    Patch(Box<PeerChange>),
    /// A patch cannot express the difference, so the whole node has to be sent.
    Replace,
}

/// Compares two views of the same peer.
pub fn compare(was: &Node, now: &Node) -> PeerDiff {
    if !was.same_but_patchable(now) || was.cap_map != now.cap_map || clears_a_field(was, now) {
        return PeerDiff::Replace;
    }
    let mut patch = PeerChange::of(now.id);
    let mut changed = false;
    let mut note = |differs: bool| {
        changed |= differs;
        differs
    };
    if note(was.home_derp != now.home_derp) {
        patch.derp_region = now.home_derp;
    }
    if note(was.cap != now.cap) {
        patch.cap = now.cap;
    }
    if note(was.endpoints != now.endpoints) {
        patch.endpoints = now.endpoints.clone();
    }
    if note(was.key != now.key) {
        patch.key = Some(now.key);
    }
    if note(was.disco_key != now.disco_key) {
        patch.disco_key = Some(now.disco_key);
    }
    if note(was.key_expiry != now.key_expiry) {
        patch.key_expiry = now.key_expiry;
    }
    if note(was.online != now.online) {
        patch.online = now.online;
    }
    // Set only if it differs: a client drops a patch that has a discovery key, says that the peer is offline, and has a
    // last-seen time that is no later than the known one (removeUnwantedDiscoUpdates in control/controlclient/map.go).
    if note(was.last_seen != now.last_seen) {
        patch.last_seen = now.last_seen;
    }
    if changed { PeerDiff::Patch(Box::new(patch)) } else { PeerDiff::Same }
}

/// Whether a field was cleared, which a patch cannot express.
fn clears_a_field(was: &Node, now: &Node) -> bool {
    (!was.endpoints.is_empty() && now.endpoints.is_empty())
        || (was.home_derp != now.home_derp && now.home_derp == 0)
        || (was.cap != now.cap && now.cap.0 == 0)
        || (was.key_expiry.is_some() && now.key_expiry.is_none())
        || (was.last_seen.is_some() && now.last_seen.is_none())
        || (was.online.is_some() && now.online.is_none())
}
