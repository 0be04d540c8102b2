//! The map stream of a model client, and the map that its frames add up to.

use std::collections::BTreeSet;

use headsail_netmap::NetMap;
use headsail_tailnet::model::node::StreamNo;
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::ids::NodeId;
use headsail_wire::map::MapResponse;

/// An open stream. The server's side remembers only the snapshot that it sent last.
pub struct Stream {
    pub no: StreamNo,
    pub node: NodeId,
    /// The index of its machine in the world.
    pub machine: usize,
    /// Whether a newer stream has superseded it. It notices when it is read.
    pub superseded: bool,
    /// The snapshot that was sent last, and the client's map. `None` before the first frame.
    pub told: Option<(Tailnet, NetMap)>,
}

/// A frame as its client receives it, after a round trip through JSON.
///
/// # Errors
/// The frame does not survive the round trip.
pub fn over_the_wire(frame: &MapResponse) -> Result<(Vec<u8>, MapResponse), String> {
    let text = serde_json::to_vec(frame).map_err(|e| format!("a frame could not be written: {e}"))?;
    let frame = serde_json::from_slice(&text).map_err(|e| format!("a frame could not be read back: {e}"))?;
    Ok((text, frame))
}

/// FNV-1a, for comparing runs.
pub fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

/// The first difference between a client's map and its projection. The client may have more profiles than it needs.
pub fn difference(told: &NetMap, ought: &NetMap) -> Option<String> {
    let part = |name: &str, told: &dyn std::fmt::Debug, ought: &dyn std::fmt::Debug| {
        Some(format!("{name} differs\n told: {told:?}\nought: {ought:?}"))
    };
    if told.me != ought.me {
        return part("the node itself", &told.me, &ought.me);
    }
    for id in told.peers.keys().chain(ought.peers.keys()) {
        let (a, b) = (told.peers.get(id), ought.peers.get(id));
        match (a, b) {
            (Some(a), Some(b)) if a != b => {
                return Some(format!("peer {id}: {}", fields_apart(a.as_ref(), b.as_ref())));
            }
            (Some(_), Some(_)) => {}
            _ => return part(&format!("peer {id}"), &a, &b),
        }
    }
    if told.filters != ought.filters {
        return part("the packet filter", &told.filters, &ought.filters);
    }
    if told.dns != ought.dns {
        return part("DNS", &told.dns, &ought.dns);
    }
    if told.derp != ought.derp {
        return part("the relay map", &told.derp, &ought.derp);
    }
    if told.ssh != ought.ssh {
        return part("the SSH policy", &told.ssh, &ought.ssh);
    }
    if told.domain != ought.domain {
        return part("the domain", &told.domain, &ought.domain);
    }
    ought.profiles.iter().find(|(id, profile)| told.profiles.get(id) != Some(profile)).and_then(
        |(id, profile)| part(&format!("the profile of user {id}"), &told.profiles.get(id), &Some(profile)),
    )
}

/// The fields in which two values of the same type differ.
pub fn fields_apart<T: serde::Serialize>(told: &T, ought: &T) -> String {
    let fields =
        |t: &T| serde_json::to_value(t).ok().and_then(|v| v.as_object().cloned()).unwrap_or_default();
    let (told, ought) = (fields(told), fields(ought));
    let names: BTreeSet<&String> = told.keys().chain(ought.keys()).collect();
    let apart = names.into_iter().filter(|name| told.get(*name) != ought.get(*name));
    let texts = apart
        .map(|name| format!("{name} was told as {:?}, ought to be {:?}", told.get(name), ought.get(name)));
    texts.collect::<Vec<_>>().join("; ")
}
