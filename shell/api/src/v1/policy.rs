//! The policy.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lenient;
use crate::problem::Finding;

/// A policy to set, check or preview.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["policy"]))]
pub struct PolicyRequest {
    /// HuJSON text.
    #[serde(deserialize_with = "lenient::or_default")]
    pub policy: String,
}

/// The active policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PolicyResponse {
    /// HuJSON text, as it was set.
    pub policy: String,
    /// When it was set; `null` for a policy that comes from a file.
    #[serde(alias = "updated_at", deserialize_with = "lenient::opt_time")]
    pub updated_at: Option<Timestamp>,
    /// Parts that are accepted but have no effect, or may not have the intended one. Not in Headscale.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Finding>,
}

/// The result of checking a valid policy. An invalid one is answered with a problem document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CheckPolicyResponse {
    /// Parts that are accepted but have no effect, or may not have the intended one. Not in Headscale.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Finding>,
}

/// What a policy would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PreviewPolicyResponse {
    /// The nodes for which something would change, in order of id.
    pub nodes: Vec<PreviewNode>,
    /// Parts that are accepted but have no effect, or may not have the intended one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Finding>,
}

/// What a policy would change for one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PreviewNode {
    /// The node's id.
    #[serde(with = "lenient::Id")]
    pub id: u64,
    /// The node's name.
    pub name: String,
    /// Names of peers that the node would start to see.
    pub peers_gained: Vec<String>,
    /// Names of peers that the node would no longer see.
    pub peers_lost: Vec<String>,
    /// What the node could newly reach.
    pub access_gained: Vec<Access>,
    /// What the node could no longer reach.
    pub access_lost: Vec<Access>,
}

/// A destination and its reachable ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Access {
    /// The name of a node, or a subnet behind one.
    pub destination: String,
    /// Ports, such as `tcp:22`, `udp:1000-2000`, `icmp:*` or `*`.
    pub ports: Vec<String>,
}

/// Asks whether a connection is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["source", "destination"]))]
pub struct ExplainRequest {
    /// The source: the name, id or address of a node, or a user, tag, group or host of the policy.
    pub source: String,
    /// The destination: the same, with a port, as in `server:22`, `[fd7a::1]:22` or `tag:db:5432`.
    pub destination: String,
    /// The protocol, such as `tcp` or `udp`; empty for TCP.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub proto: String,
    /// A policy to use instead of the active one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub policy: String,
}

/// Whether a connection is allowed, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExplainResponse {
    /// Whether the connection is allowed.
    pub allowed: bool,
    /// What the source was resolved to.
    pub source: String,
    /// What the destination was resolved to.
    pub destination: String,
    /// The rule that allows the connection, if any.
    pub rule: Option<ExplainRule>,
    /// Why source and destination match that rule, such as ``"`alice@` is a member of `group:dev`"``.
    pub because: Vec<String>,
    /// If the connection is denied, what is missing.
    pub missing: Vec<String>,
}

/// A rule of the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExplainRule {
    /// The path of the rule, such as `acls[2]`.
    pub location: String,
    /// The rule's first line in the policy text, from 1.
    pub line: Option<u32>,
    /// The rule's text.
    pub text: String,
}
