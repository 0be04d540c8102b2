//! Metrics, in the OpenMetrics text format.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::app::App;
use crate::listen::Seats;
use crate::relay::stun;

/// The routes of the metrics listener.
pub fn routes(app: App, stun: Arc<stun::Counts>, seats: Arc<Seats>) -> Router {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Metrics { app, stun, seats }));
    Router::new().route("/metrics", get(show)).with_state(Arc::new(registry))
}

async fn show(State(registry): State<Arc<Registry>>) -> impl IntoResponse {
    let mut body = String::new();
    // Writing into a string cannot fail, and a parser would refuse an incomplete response.
    let _ = text::encode(&mut body, &registry);
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], body)
}

/// Collects all values at the time of the request.
struct Metrics {
    app: App,
    stun: Arc<stun::Counts>,
    seats: Arc<Seats>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// What strangers share, and how often one had to give way to another.
    fn encode_limits(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        counter(
            out,
            "headsail_logins_displaced",
            "pending logins that others pushed out because there were too many",
            self.app.tailnet.clerk.displaced_logins(),
        )?;
        let seats = &self.seats;
        gauge(out, "headsail_connections", "connections of all listeners but this one", seats.taken())?;
        gauge(out, "headsail_connections_limit", "how many of them there may be", seats.limit())?;
        counter(
            out,
            "headsail_connections_displaced",
            "connections without a registered node that were closed to make room",
            seats.closed(),
        )
    }

    fn encode_stun(&self, out: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let stun = &self.stun;
        counter(
            out,
            "headsail_stun_answered",
            "STUN requests answered",
            stun.answered.load(Ordering::Relaxed),
        )?;
        counter(
            out,
            "headsail_stun_ignored",
            "datagrams that were not STUN requests",
            stun.ignored.load(Ordering::Relaxed),
        )
    }
}

impl Collector for Metrics {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let t = self.app.tailnet.clerk.snapshot();
        let online = t.nodes().filter(|n| n.presence.is_online()).count();
        let expired = t.nodes().filter(|n| n.expiry.is_past()).count();
        let pending = t.tickets().count() + t.ssh_check_count();
        gauge(&mut out, "headsail_nodes", "nodes", t.node_count())?;
        gauge(&mut out, "headsail_nodes_online", "nodes with a map stream", online)?;
        gauge(&mut out, "headsail_nodes_expired", "nodes whose key has expired", expired)?;
        gauge(&mut out, "headsail_users", "users", t.users().count())?;
        gauge(
            &mut out,
            "headsail_pending_logins",
            "logins and SSH sessions that are pending, or were settled recently",
            pending,
        )?;
        counter(&mut out, "headsail_snapshots", "snapshots published", t.version())?;
        self.encode_limits(&mut out)?;
        self.encode_stun(&mut out)?;
        let Some(relay) = self.app.process.relay.as_ref().map(|r| r.stats()) else { return Ok(()) };
        gauge(&mut out, "headsail_derp_connections", "relay connections", relay.core.connections)?;
        gauge(
            &mut out,
            "headsail_derp_homes",
            "relay clients whose home relay is this one",
            relay.core.homes,
        )?;
        gauge(&mut out, "headsail_derp_queued_bytes", "bytes queued in the relay", relay.core.queued_bytes)?;
        gauge(
            &mut out,
            "headsail_derp_duplicated",
            "keys with more than one relay connection",
            relay.core.duplicated,
        )?;
        counter(&mut out, "headsail_derp_joined", "relay connections since the start", relay.core.joined)?;
        counter(&mut out, "headsail_derp_pings", "pings answered", relay.core.pings)?;
        counter(&mut out, "headsail_derp_packets", "packets relayed", relay.core.packets)?;
        counter(&mut out, "headsail_derp_bytes", "bytes relayed", relay.core.bytes)?;
        for (name, help, value) in [
            (
                "dropped_slow",
                "packets dropped because their destination was too slow",
                relay.core.dropped_full,
            ),
            (
                "dropped_unknown",
                "packets dropped because their destination is not connected",
                relay.core.dropped_unknown,
            ),
            (
                "refused",
                "relay connections refused because their node is not allowed to use the relay",
                relay.refused,
            ),
            (
                "handshakes_failed",
                "relay connections that ended before their handshake was complete",
                relay.handshake_failed,
            ),
            ("stalled", "relay connections closed because they accepted no bytes", relay.stalled),
            ("violated", "relay connections closed because of what they sent", relay.violated),
        ] {
            counter(&mut out, &format!("headsail_derp_{name}"), help, value)?;
        }
        Ok(())
    }
}

fn gauge(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: usize,
) -> Result<(), std::fmt::Error> {
    let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    let encoder = out.encode_descriptor(name, help, None, metric.metric_type())?;
    metric.encode(encoder)
}

fn counter(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: u64,
) -> Result<(), std::fmt::Error> {
    let metric = ConstCounter::new(value);
    let encoder = out.encode_descriptor(name, help, None, metric.metric_type())?;
    metric.encode(encoder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::Relay;
    use crate::testing;

    #[tokio::test]
    async fn every_counter_is_exported() {
        let app = testing::app_with(Some(Relay::new([7; 32], Arc::new(|_| true))));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Metrics { app, stun: Arc::default(), seats: Seats::new(7) }));
        let mut text = String::new();
        text::encode(&mut text, &registry).unwrap();
        for name in [
            "nodes 0",
            "snapshots_total 0",
            "logins_displaced_total 0",
            "connections 0",
            "connections_limit 7",
            "connections_displaced_total 0",
            "stun_answered_total 0",
            "derp_connections 0",
            "derp_duplicated 0",
            "derp_pings_total 0",
            "derp_dropped_slow_total 0",
            "derp_dropped_unknown_total 0",
            "derp_refused_total 0",
            "derp_handshakes_failed_total 0",
            "derp_stalled_total 0",
            "derp_violated_total 0",
        ] {
            assert!(text.contains(&format!("\nheadsail_{name}\n")), "{name}: {text}");
        }
    }
}
