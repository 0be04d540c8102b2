//! SSH policy as a node receives it (`tailcfg.SSHPolicy`); lower camel case throughout.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::Time;

fn is_false(b: &bool) -> bool {
    !*b
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

/// The whole SSH policy of one node; no rules means nobody gets in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SshPolicy {
    /// First match wins.
    pub rules: Vec<SshRule>,
}

/// One rule: who may log in as whom, and what happens then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SshRule {
    /// The rule is skipped from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_expires: Option<Time>,
    /// Sources; any of them.
    #[serde(default)]
    pub principals: Vec<SshPrincipal>,
    /// Requested user to local user; `*` any other user, value `=` the same name, "" denies.
    #[serde(default)]
    pub ssh_users: BTreeMap<String, String>,
    /// What happens.
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
    /// A node by its stable id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// A node by one of its addresses.
    #[serde(rename = "nodeIP", default, skip_serializing_if = "String::is_empty")]
    pub node_ip: String,
    /// Every node of a user.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user_login: String,
    /// Everyone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub any: bool,
}

/// What happens to a session that matches (`tailcfg.SSHAction`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SshAction {
    /// Shown to the user.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Refuse the session.
    #[serde(default, skip_serializing_if = "is_false")]
    pub reject: bool,
    /// Let the session in.
    #[serde(default, skip_serializing_if = "is_false")]
    pub accept: bool,
    /// Nanoseconds after which the session ends; 0 is never.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub session_duration: i64,
    /// Whether the agent may be forwarded.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_agent_forwarding: bool,
    /// An https URL that the node asks over Noise for the final action.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hold_and_delegate: String,
    /// Whether local ports may be forwarded.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_local_port_forwarding: bool,
    /// Whether remote ports may be forwarded.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_remote_port_forwarding: bool,
    /// `ip:port` of session recorders, tried in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recorders: Vec<String>,
    /// What happens when no recorder answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_recording_failure: Option<SshRecorderFailureAction>,
}

/// Where a node asks for the outcome of a check: behind it come `SOURCE/to/DESTINATION`, ids of nodes.
pub const ACTION_PATH: &str = "/machine/ssh/action/";

/// What stands before a path that a node asks over Noise: clients want an https URL and do not look at its host.
pub const NOISE_BASE_URL: &str = "https://unused";

impl SshAction {
    /// Lets the session in, whatever it forwards.
    pub fn accept() -> SshAction {
        SshAction {
            accept: true,
            allow_agent_forwarding: true,
            allow_local_port_forwarding: true,
            allow_remote_port_forwarding: true,
            ..SshAction::default()
        }
    }

    /// Turns the session away; the text is for its user.
    pub fn reject(message: String) -> SshAction {
        SshAction { message, reject: true, ..SshAction::default() }
    }

    /// Shows a text to the user and lets the node ask for the outcome at [`ACTION_PATH`]. `which` is the rest of that URL.
    pub fn ask(message: String, which: &str) -> SshAction {
        let hold_and_delegate = format!("{NOISE_BASE_URL}{ACTION_PATH}{which}");
        SshAction { message, hold_and_delegate, ..SshAction::default() }
    }
}

/// What happens when a session can't be recorded (`tailcfg.SSHRecorderFailureAction`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SshRecorderFailureAction {
    /// Refuse new sessions with this text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reject_session_with_message: String,
    /// End running sessions with this text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub terminate_session_with_message: String,
    /// Where failures are reported, over Noise.
    #[serde(rename = "NotifyURL", default, skip_serializing_if = "String::is_empty")]
    pub notify_url: String,
}
