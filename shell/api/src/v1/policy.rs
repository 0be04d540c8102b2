//! The policy.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lenient;
use crate::problem::Finding;

/// A policy to set, to check or to preview.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["policy"]))]
pub struct PolicyRequest {
    /// HuJSON text.
    #[serde(deserialize_with = "lenient::or_default")]
    pub policy: String,
}

/// The policy in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PolicyResponse {
    /// HuJSON text, as it was set.
    pub policy: String,
    /// When it was set; `null` for a policy that comes from a file.
    #[serde(alias = "updated_at", deserialize_with = "lenient::opt_time")]
    pub updated_at: Option<Timestamp>,
    /// What is accepted but has no effect, or not the one that may be expected. Not in Headscale.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Finding>,
}

/// The verdict on a policy that has no errors (errors come as a problem document).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CheckPolicyResponse {
    /// What is accepted but has no effect, or not the one that may be expected. Not in Headscale.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Finding>,
}

/// What a policy would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PreviewPolicyResponse {
    /// The nodes for which anything changes, in order of their ids.
    pub nodes: Vec<PreviewNode>,
    /// What is accepted but has no effect, or not the one that may be expected.
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
    /// Its name.
    pub name: String,
    /// Names of the peers that it would see newly.
    pub peers_gained: Vec<String>,
    /// Names of the peers that it would see no more.
    pub peers_lost: Vec<String>,
    /// What it could reach newly.
    pub access_gained: Vec<Access>,
    /// What it could reach no more.
    pub access_lost: Vec<Access>,
}

/// Ports of a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Access {
    /// The name of a node, or a network behind one.
    pub destination: String,
    /// Such as `tcp:22`, `udp:1000-2000`, `icmp:*` or `*`.
    pub ports: Vec<String>,
}

/// Whether one node may reach another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["source", "destination"]))]
pub struct ExplainRequest {
    /// Who: the name, id or address of a node, or a user, a tag, a group or a host of the policy.
    pub source: String,
    /// What: the same, with a port: `server:22`, `[fd7a::1]:22`, `tag:db:5432`.
    pub destination: String,
    /// The protocol, such as `tcp` or `udp`; empty for TCP.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub proto: String,
    /// A policy to ask instead of the one in force.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub policy: String,
}

/// Whether one node may reach another, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExplainResponse {
    /// The verdict.
    pub allowed: bool,
    /// What the source was found to be.
    pub source: String,
    /// What the destination was found to be.
    pub destination: String,
    /// The rule that allows it.
    pub rule: Option<ExplainRule>,
    /// How source and destination match that rule, such as ``"`alice@` is a member of `group:dev`"``.
    pub because: Vec<String>,
    /// What is missing, when it is not allowed.
    pub missing: Vec<String>,
}

/// A rule of the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExplainRule {
    /// Where it stands, such as `acls[2]`.
    pub location: String,
    /// Its first line in the policy, from 1.
    pub line: Option<u32>,
    /// Its text.
    pub text: String,
}
