//! SSH policy as a node receives it (`tailcfg.SSHPolicy`). Unlike elsewhere, JSON names are in lower camel case.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::Time;

fn is_false(b: &bool) -> bool {
    !*b
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

/// The SSH policy of one node. Without rules, nobody may log in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SshPolicy {
    /// The rules, in order; the first one that matches decides.
    pub rules: Vec<SshRule>,
}

/// One rule: who may log in as whom, and what happens then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SshRule {
    /// When the rule stops applying; `None` for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_expires: Option<Time>,
    /// Sources; the rule applies to sessions from any of them.
    #[serde(default)]
    pub principals: Vec<SshPrincipal>,
    /// Requested user to local user. The key `*` stands for any other user, the value `=` for the requested name, and an
    /// empty value denies.
    #[serde(default)]
    pub ssh_users: BTreeMap<String, String>,
    /// What happens to a session that matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<SshAction>,
    /// Patterns of environment variables that the client may set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept_env: Vec<String>,
}

/// A source of SSH sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SshPrincipal {
    /// Matches the node with this stable id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// Matches the node with this address.
    #[serde(rename = "nodeIP", default, skip_serializing_if = "String::is_empty")]
    pub node_ip: String,
    /// Matches all nodes of the user with this login name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user_login: String,
    /// Matches every node.
    #[serde(default, skip_serializing_if = "is_false")]
    pub any: bool,
}

/// What happens to a session that matches (`tailcfg.SSHAction`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SshAction {
    /// Text to show to the user before the action takes effect.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Whether to refuse the session.
    #[serde(default, skip_serializing_if = "is_false")]
    pub reject: bool,
    /// Whether to allow the session.
    #[serde(default, skip_serializing_if = "is_false")]
    pub accept: bool,
    /// Longest duration of the session in nanoseconds; 0 for no limit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub session_duration: i64,
    /// Whether the user may forward an SSH agent.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_agent_forwarding: bool,
    /// An https URL that the node requests over Noise to get the final action.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hold_and_delegate: String,
    /// Whether the user may forward local ports.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_local_port_forwarding: bool,
    /// Whether the user may forward remote ports.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_remote_port_forwarding: bool,
    /// Addresses (`ip:port`) of session recorders, tried in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recorders: Vec<String>,
    /// What happens if the session cannot be recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_recording_failure: Option<SshRecorderFailureAction>,
}

/// Path at which a node asks for the outcome of a check, followed by `SOURCE/to/DESTINATION`, two node ids.
pub const ACTION_PATH: &str = "/machine/ssh/action/";

/// Base of URLs that a node requests over Noise. Clients require an https URL and ignore its host.
pub const NOISE_BASE_URL: &str = "https://unused";

impl SshAction {
    /// Allows the session, with all kinds of forwarding.
    pub fn accept() -> SshAction {
        SshAction {
            accept: true,
            allow_agent_forwarding: true,
            allow_local_port_forwarding: true,
            allow_remote_port_forwarding: true,
            ..SshAction::default()
        }
    }

    /// Refuses the session with a message for the user.
    pub fn reject(message: String) -> SshAction {
        SshAction { message, reject: true, ..SshAction::default() }
    }

    /// Shows a message to the user and makes the node ask for the outcome at [`ACTION_PATH`], followed by `suffix`.
    pub fn ask(message: String, suffix: &str) -> SshAction {
        let hold_and_delegate = format!("{NOISE_BASE_URL}{ACTION_PATH}{suffix}");
        SshAction { message, hold_and_delegate, ..SshAction::default() }
    }
}

/// What happens if a session cannot be recorded (`tailcfg.SSHRecorderFailureAction`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SshRecorderFailureAction {
    /// Message with which new sessions are refused; empty to allow them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reject_session_with_message: String,
    /// Message with which running sessions are ended; empty to let them continue.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub terminate_session_with_message: String,
    /// URL that the node requests over Noise to report the failure.
    #[serde(rename = "NotifyURL", default, skip_serializing_if = "String::is_empty")]
    pub notify_url: String,
}
