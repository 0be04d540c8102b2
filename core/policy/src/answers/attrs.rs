//! Capabilities of nodes (`nodeAttrs`), and which of them peers are sent.

use std::net::IpAddr;

use headsail_wire::filter::CapMap;
use headsail_wire::ids::NodeId;
use ipnet::IpNet;

use crate::answers::filter::then_cap;
use crate::engine::facts::{NodeFacts, Owner};
use crate::engine::fingerprint::Fingerprint;
use crate::engine::{Engine, NodeRow};
use crate::text::net::is_exit_route;

/// Comes with the attribute `funnel`: the ports on which the relays accept connections.
const FUNNEL_PORTS: &str = "https://tailscale.com/cap/funnel-ports?ports=443,8443,10000";

/// Sent to a node that may use Funnel while the tailnet has no HTTPS certificates.
const FUNNEL_WARNING: &str = "https://tailscale.com/cap/warn-funnel-no-https";

/// The attribute of nodes that have no IPv4 address.
const NO_IPV4: &str = "disable-ipv4";

/// The attribute that makes clients suggest a node as an exit node.
const SUGGEST_EXIT: &str = "suggest-exit-node";

impl Engine {
    /// The capabilities that the policy gives a node, as the node itself receives them.
    pub fn self_caps(&self, node: NodeId) -> CapMap {
        let Some(row) = self.nodes.get(&node) else { return CapMap::new() };
        let mut caps = self.program.switches.clone();
        for a in self.program.attrs.iter().filter(|a| self.in_list(a.target, row.class as usize)) {
            for (name, values) in a.caps.iter() {
                caps.entry(name.clone()).or_default().extend(values.iter().cloned());
            }
        }
        if caps.contains_key("funnel") {
            caps.entry(FUNNEL_PORTS.into()).or_default();
            if !caps.contains_key("https") {
                caps.entry(FUNNEL_WARNING.into()).or_default();
            }
        }
        caps
    }

    /// The capabilities of a node, as `viewer` receives them.
    pub fn peer_caps(&self, viewer: NodeId, node: NodeId) -> CapMap {
        let row = self.nodes.get(&node).filter(|_| self.sees(viewer, node));
        row.map(|row| self.caps_shown(row)).unwrap_or_default()
    }

    /// The capabilities of a node that all who see the node get.
    pub(crate) fn caps_shown(&self, node: &NodeRow) -> CapMap {
        let suggested =
            node.facts.serves().any(is_exit_route) && self.class_has_attr(node.class, SUGGEST_EXIT);
        suggested.then(|| (SUGGEST_EXIT.into(), Vec::new())).into_iter().collect()
    }

    /// Whether the policy gives a node an attribute.
    pub fn has_attr(&self, node: NodeId, name: &str) -> bool {
        self.nodes.get(&node).is_some_and(|row| self.class_has_attr(row.class, name))
    }

    fn class_has_attr(&self, class: u32, name: &str) -> bool {
        let given = |a: &&crate::engine::program::AttrSection| a.caps.contains_key(name);
        self.program.switches.contains_key(name)
            || self.program.attrs.iter().filter(given).any(|a| self.in_list(a.target, class as usize))
    }

    /// Whether the nodes of a class have IPv4 disabled; see [`Engine::addresses`].
    pub(crate) fn class_hides_ipv4(&self, class: u32) -> bool {
        self.class_has_attr(class, NO_IPV4)
    }

    /// Whether any address may be hidden, so that [`Engine::addresses`] may leave some out.
    pub fn hides_addresses(&self) -> bool {
        self.program.switches.contains_key(NO_IPV4)
            || self.program.attrs.iter().any(|a| a.caps.contains_key(NO_IPV4))
    }

    /// The addresses of `node`, as `viewer` receives them, IPv4 first. IPv4 is left out if either of the two has it
    /// disabled. A node that asks about itself gets its own.
    pub fn addresses(&self, viewer: NodeId, node: NodeId) -> Vec<IpAddr> {
        let Some(facts) = self.node(node) else { return Vec::new() };
        let v6_only = self.has_attr(viewer, NO_IPV4) || self.has_attr(node, NO_IPV4);
        facts.addresses().filter(|a| a.is_ipv6() || !v6_only).collect()
    }

    /// The pool for the IPv4 addresses of nodes with this owner, if the policy has one (`ipPool`); the first that
    /// applies.
    pub fn ip_pool(&self, owner: &Owner) -> Option<IpNet> {
        let id = NodeId::new(NodeId::MAX)?;
        let signature = self.signature(&NodeFacts::new(id, owner.clone(), None, None));
        let applies = |a: &&crate::engine::program::AttrSection| {
            self.list(a.target).is_some_and(|l| l.all() || l.sels().any(|s| signature.has(s)))
        };
        self.program.attrs.iter().filter(applies).flat_map(|a| a.pools.iter().copied()).next()
    }

    /// Differs if the node's own capabilities differ.
    pub(crate) fn caps_fingerprint(&self, node: NodeId) -> Fingerprint {
        self.self_caps(node).iter().fold(Fingerprint::EMPTY, then_cap)
    }
}
