//! `POST /machine/register` (`tailcfg.RegisterRequest`, `tailcfg.RegisterResponse`).

use serde::{Deserialize, Serialize};

use crate::capver::CapVer;
use crate::hostinfo::Hostinfo;
use crate::json::null_default;
use crate::keys::{LockKey, NodeKey};
use crate::time::{Time, go_time};

/// What a client asks for when it logs in, out or anew. Every field may be missing.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RegisterRequest {
    /// The client's capability version.
    pub version: CapVer,
    /// The key to authorise.
    pub node_key: NodeKey,
    /// The key that the same node had before; zero for none. Sent for ever after a rotation.
    pub old_node_key: NodeKey,
    /// Tailnet-lock key.
    #[serde(rename = "NLKey")]
    pub nl_key: LockKey,
    /// Proof that the login is allowed.
    pub auth: Option<RegisterAuth>,
    /// `None` asks for nothing; the past logs out; the future shortens the expiry.
    #[serde(with = "go_time")]
    pub expiry: Option<Time>,
    /// The AuthURL that this request waits for.
    pub followup: String,
    /// The host.
    pub hostinfo: Option<Hostinfo>,
    /// Whether the node is to vanish when it goes offline.
    pub ephemeral: bool,
    /// The tailnet that the client insists on.
    pub tailnet: String,
}

/// Proof that a login is allowed (`tailcfg.RegisterResponseAuth`).
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RegisterAuth {
    /// A pre-authentication key: secret.
    #[serde(deserialize_with = "null_default")]
    pub auth_key: String,
}

/// The answer; every key is always written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RegisterResponse {
    /// Owner of the node.
    pub user: RegisterUser,
    /// How the owner logs in.
    pub login: RegisterLogin,
    /// The client makes a new key and registers again.
    pub node_key_expired: bool,
    /// Whether the machine is approved.
    pub machine_authorized: bool,
    /// Where the user must go; empty when the login is complete.
    #[serde(rename = "AuthURL")]
    pub auth_url: String,
    /// Always null here: tailnet lock is not in use.
    pub node_key_signature: Option<String>,
    /// Shown to the user word for word; empty for none.
    pub error: String,
}

/// `tailcfg.User`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RegisterUser {
    /// User id; 0 for none.
    #[serde(rename = "ID")]
    pub id: u64,
    /// Name for people.
    pub display_name: String,
    /// Picture.
    #[serde(rename = "ProfilePicURL", default, skip_serializing_if = "String::is_empty")]
    pub profile_pic_url: String,
}

/// `tailcfg.Login`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RegisterLogin {
    /// Login id; 0 for none.
    #[serde(rename = "ID")]
    pub id: u64,
    /// Who vouches.
    pub provider: String,
    /// Login name.
    pub login_name: String,
    /// Name for people.
    pub display_name: String,
    /// Picture.
    #[serde(rename = "ProfilePicURL", default, skip_serializing_if = "String::is_empty")]
    pub profile_pic_url: String,
}

impl RegisterResponse {
    fn blank() -> RegisterResponse {
        RegisterResponse {
            user: RegisterUser::default(),
            login: RegisterLogin::default(),
            node_key_expired: false,
            machine_authorized: false,
            auth_url: String::new(),
            node_key_signature: None,
            error: String::new(),
        }
    }

    /// The login is complete.
    pub fn success(user: RegisterUser, login: RegisterLogin) -> RegisterResponse {
        RegisterResponse { user, login, machine_authorized: true, ..RegisterResponse::blank() }
    }

    /// A refusal with a reason for the user.
    pub fn refused(error: impl Into<String>) -> RegisterResponse {
        RegisterResponse { error: error.into(), ..RegisterResponse::blank() }
    }

    /// The user must visit `url`.
    pub fn visit(url: String) -> RegisterResponse {
        RegisterResponse { auth_url: url, ..RegisterResponse::blank() }
    }

    /// The key has expired: the client makes a new one and comes again.
    pub fn key_expired() -> RegisterResponse {
        RegisterResponse { node_key_expired: true, ..RegisterResponse::blank() }
    }
}
