//! Random settings.

use std::sync::Arc;

use headsail_tailnet::model::settings::{Allocation, Settings};
use headsail_wire::derp_map::{DerpMap, DerpRegion};
use headsail_wire::dns::DnsConfig;

use crate::rng::Rng;

/// The limit on pending logins: low, so that histories reach it.
const TICKETS: usize = 4;

pub fn any(rng: &mut Rng) -> Settings {
    let (v4, v6) = match rng.below(8) {
        0 => (Some("100.64.0.0/10"), None),
        1 => (None, Some("fd7a:115c:a1e0::/48")),
        2 => (Some("100.64.7.0/27"), Some("fd7a:115c:a1e0::/48")),
        _ => (Some("100.64.0.0/10"), Some("fd7a:115c:a1e0::/48")),
    };
    let domains = ["mesh.internal", "mesh.internal", "other.example"];
    Settings {
        base_domain: rng.pick(&domains).copied().unwrap_or_default().into(),
        v4: v4.and_then(|net| net.parse().ok()),
        v6: v6.and_then(|net| net.parse().ok()),
        allocation: if rng.chance(70) { Allocation::Sequential } else { Allocation::Random },
        dns: Arc::new(DnsConfig { proxied: rng.chance(50), ..DnsConfig::default() }),
        policy_domains: Vec::new(),
        user_names: [None, Some(true), Some(false)][rng.below(3) as usize],
        derp: Arc::new(derp_map(rng)),
        node_expiry: rng.chance(40).then(|| 100 + rng.below(100_000) as i64),
        ephemeral_timeout: 10 + rng.below(200) as i64,
        grace_millis: rng.below(20_000) as i64,
        taildrop: rng.chance(80),
        auto_update: rng.chance(20),
        ticket_secs: 60 + rng.below(900) as i64,
        max_tickets: TICKETS,
    }
}

fn derp_map(rng: &mut Rng) -> DerpMap {
    let region =
        |id: u32| DerpRegion { region_id: id, region_code: format!("r{id}"), ..DerpRegion::default() };
    let regions = (1..4).filter(|_| rng.chance(60)).map(|id| (id, region(id))).collect();
    DerpMap { regions, ..DerpMap::default() }
}
