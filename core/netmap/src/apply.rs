//! Applies a frame the way the official client does (control/controlclient/map.go).

use std::sync::Arc;

use headsail_wire::map::{MapResponse, Node, PeerChange};

use crate::NetMap;
use crate::peer::{PeerDiff, compare};

/// A first frame lacks this field, which a client needs to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incomplete(pub &'static str);

/// Applies one frame; `map` is `None` before the first one.
///
/// # Errors
/// The first frame is incomplete.
pub fn apply(map: &mut Option<NetMap>, frame: MapResponse) -> Result<(), Incomplete> {
    if frame.keep_alive {
        return Ok(());
    }
    match map {
        None => *map = Some(first(frame)?),
        Some(map) => update(map, frame),
    }
    Ok(())
}

fn first(mut frame: MapResponse) -> Result<NetMap, Incomplete> {
    let mut map = NetMap {
        me: frame.node.take().ok_or(Incomplete("Node"))?,
        peers: Default::default(),
        filters: Default::default(),
        dns: frame.dns_config.take().ok_or(Incomplete("DNSConfig"))?,
        derp: frame.derp_map.take().ok_or(Incomplete("DERPMap"))?,
        ssh: frame.ssh_policy.take().ok_or(Incomplete("SSHPolicy"))?,
        profiles: Default::default(),
        domain: std::mem::take(&mut frame.domain),
    };
    if frame.packet_filters.is_none() {
        return Err(Incomplete("PacketFilters"));
    }
    update(&mut map, frame);
    Ok(map)
}

fn update(map: &mut NetMap, frame: MapResponse) {
    for profile in frame.user_profiles {
        map.profiles.insert(profile.id, profile);
    }
    if let Some(me) = frame.node {
        map.me = me;
    }
    if let Some(dns) = frame.dns_config {
        map.dns = dns;
    }
    if let Some(derp) = frame.derp_map {
        map.derp = derp;
    }
    if let Some(ssh) = frame.ssh_policy {
        map.ssh = ssh;
    }
    if !frame.domain.is_empty() {
        map.domain = frame.domain;
    }
    if let Some(mut filters) = frame.packet_filters {
        if let Some(None) = filters.remove("*") {
            map.filters.clear();
        }
        for (name, rules) in filters {
            match rules {
                Some(rules) => map.filters.insert(name, rules),
                None => map.filters.remove(&name),
            };
        }
    }
    if !frame.peers.is_empty() {
        map.peers = frame.peers.into_iter().map(|p| (p.id, p)).collect();
        return;
    }
    for id in frame.peers_removed {
        map.peers.remove(&id);
    }
    for node in frame.peers_changed {
        let merged = match map.peers.get(&node.id) {
            Some(old) => upsert(old, node),
            None => node,
        };
        map.peers.insert(merged.id, merged);
    }
    for patch in frame.peers_changed_patch {
        if let Some(peer) =
            map.peers.get_mut(&patch.node_id).filter(|peer| !has_unwanted_disco_key(peer, &patch))
        {
            patch_peer(Arc::make_mut(peer), patch);
        }
    }
}

/// Where possible, the client reduces a whole node to a patch. It then ignores online and last seen if they were unset
/// before.
fn upsert(old: &Arc<Node>, new: Arc<Node>) -> Arc<Node> {
    if !old.same_but_patchable(&new) {
        return new;
    }
    let mut kept = (*new).clone();
    if let PeerDiff::Same = compare(old, &kept) {
        return old.clone();
    }
    kept.online = old.online.and(kept.online.or(old.online));
    kept.last_seen = old.last_seen.and(kept.last_seen.or(old.last_seen));
    if kept.home_derp == 0 {
        kept.home_derp = old.home_derp;
    }
    if kept.cap.0 == 0 {
        kept.cap = old.cap;
    }
    let outdated = old.online != kept.online && kept.online == Some(false) && kept.last_seen < old.last_seen;
    if old.disco_key != kept.disco_key && outdated {
        return old.clone();
    }
    Arc::new(kept)
}

/// Whether the client ignores the patch: it has a discovery key, says that the peer is offline, and has a last-seen time
/// that is no later than the known one.
fn has_unwanted_disco_key(peer: &Node, patch: &PeerChange) -> bool {
    let later = |seen| peer.last_seen.is_none_or(|known| seen > known);
    patch.disco_key.is_some()
        && patch.online == Some(false)
        && patch.last_seen.is_some_and(|seen| !later(seen))
}

fn patch_peer(peer: &mut Node, patch: PeerChange) {
    let PeerChange {
        node_id: _,
        derp_region,
        cap,
        cap_map,
        endpoints,
        key,
        disco_key,
        online,
        last_seen,
        key_expiry,
    } = patch;
    if derp_region != 0 {
        peer.home_derp = derp_region;
    }
    if cap.0 != 0 {
        peer.cap = cap;
    }
    if let Some(caps) = cap_map {
        peer.cap_map = caps;
    }
    if !endpoints.is_empty() {
        peer.endpoints = endpoints;
    }
    if let Some(key) = key {
        peer.key = key;
    }
    if let Some(disco) = disco_key {
        peer.disco_key = disco;
    }
    if online.is_some() {
        peer.online = online;
    }
    if last_seen.is_some() {
        peer.last_seen = last_seen;
    }
    if key_expiry.is_some() {
        peer.key_expiry = key_expiry;
    }
}
