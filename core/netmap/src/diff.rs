//! The first frame of a stream, and the frame that leads from one view to another.

use std::collections::BTreeMap;
use std::sync::Arc;

use headsail_wire::map::{Debug, MapResponse};

use crate::peer::{PeerDiff, compare};
use crate::{Filters, NetMap};

/// The first frame of a stream, with the whole view.
pub fn full(map: &NetMap) -> MapResponse {
    MapResponse {
        node: Some(map.me.clone()),
        derp_map: Some(map.derp.clone()),
        peers: map.peers.values().cloned().collect(),
        dns_config: Some(map.dns.clone()),
        domain: map.domain.clone(),
        collect_services: Some(false),
        packet_filters: Some(
            map.filters.iter().map(|(name, rules)| (name.clone(), Some(rules.clone()))).collect(),
        ),
        user_profiles: map.profiles.values().cloned().collect(),
        ssh_policy: Some(map.ssh.clone()),
        debug: Some(Debug { disable_log_tail: true }),
        ..MapResponse::default()
    }
}

/// The frame that updates a client from the view `was` to the view `now`; `None` if they are equal.
///
/// This is the reference definition; it takes time linear in the size of both views. The server's delta checks only the
/// rows that changed, and must give the same result.
pub fn diff(was: &NetMap, now: &NetMap) -> Option<MapResponse> {
    let mut out = MapResponse::default();
    for (id, peer) in &now.peers {
        match was.peers.get(id) {
            None => out.peers_changed.push(peer.clone()),
            Some(old) => match compare(old, peer) {
                PeerDiff::Same => {}
                PeerDiff::Patch(patch) => out.peers_changed_patch.push(*patch),
                PeerDiff::Replace => out.peers_changed.push(peer.clone()),
            },
        }
    }
    out.peers_removed = was.peers.keys().filter(|id| !now.peers.contains_key(id)).copied().collect();
    out.user_profiles = now
        .profiles
        .iter()
        .filter(|(id, p)| was.profiles.get(id) != Some(p))
        .map(|(_, p)| p.clone())
        .collect();
    out.node = changed(&was.me, &now.me);
    out.dns_config = changed(&was.dns, &now.dns);
    out.derp_map = changed(&was.derp, &now.derp);
    out.ssh_policy = changed(&was.ssh, &now.ssh);
    out.packet_filters = diff_filters(&was.filters, &now.filters);
    if was.domain != now.domain {
        out.domain = now.domain.clone();
    }
    (out != MapResponse::default()).then_some(out)
}

/// The new value if it differs from the old one. Pointers are compared first, because most values are shared.
pub fn changed<T: PartialEq>(was: &Arc<T>, now: &Arc<T>) -> Option<Arc<T>> {
    (!Arc::ptr_eq(was, now) && was != now).then(|| now.clone())
}

/// The named parts that changed, with `None` for those that were removed; `None` if all are the same.
pub fn diff_filters(
    was: &Filters,
    now: &Filters,
) -> Option<BTreeMap<String, Option<Arc<[headsail_wire::filter::FilterRule]>>>> {
    let mut out = BTreeMap::new();
    for (name, rules) in now {
        let same = was.get(name).is_some_and(|old| Arc::ptr_eq(old, rules) || old == rules);
        if !same {
            out.insert(name.clone(), Some(rules.clone()));
        }
    }
    for name in was.keys().filter(|name| !now.contains_key(*name)) {
        out.insert(name.clone(), None);
    }
    (!out.is_empty()).then_some(out)
}
