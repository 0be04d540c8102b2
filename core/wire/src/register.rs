//! `POST /machine/register` (`tailcfg.RegisterRequest`, `tailcfg.RegisterResponse`).

use serde::{Deserialize, Serialize};

use crate::capver::CapVer;
use crate::hostinfo::Hostinfo;
use crate::json::null_default;
use crate::keys::{LockKey, NodeKey};
use crate::time::{Time, go_time};

/// A client's request to log in, log out or log in again. Every field may be absent.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RegisterRequest {
    /// The client's capability version.
    pub version: CapVer,
    /// The node key to authorise.
    pub node_key: NodeKey,
    /// The node's previous key; zero for none. After a rotation, clients keep sending it indefinitely.
    pub old_node_key: NodeKey,
    /// The client's tailnet lock key.
    #[serde(rename = "NLKey")]
    pub nl_key: LockKey,
    /// Credentials for a login without a person.
    pub auth: Option<RegisterAuth>,
    /// Requested expiry: `None` leaves it alone, a past time logs out, a future time brings the expiry forward.
    #[serde(with = "go_time")]
    pub expiry: Option<Time>,
    /// The `auth_url` of an earlier response, if this request waits for that login to complete.
    pub followup: String,
    /// Description of the host.
    pub hostinfo: Option<Hostinfo>,
    /// Whether the node should be deleted some time after it goes offline.
    pub ephemeral: bool,
    /// Name of the tailnet that the client requires; empty for any.
    pub tailnet: String,
}

/// Credentials for a login without a person (`tailcfg.RegisterResponseAuth`).
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RegisterAuth {
    /// The text of a pre-auth key, which is secret.
    #[serde(deserialize_with = "null_default")]
    pub auth_key: String,
}

/// The response to a [`RegisterRequest`]; all fields are always written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RegisterResponse {
    /// The user that owns the node.
    pub user: RegisterUser,
    /// The login that the owner used.
    pub login: RegisterLogin,
    /// Whether the node key has expired: the client then creates a new one and registers again.
    pub node_key_expired: bool,
    /// Whether the machine is authorised to be in the tailnet.
    pub machine_authorized: bool,
    /// URL that the user has to visit; empty if there is nothing to do.
    #[serde(rename = "AuthURL")]
    pub auth_url: String,
    /// Tailnet lock signature of the node key; always `None`, because the server does not support tailnet lock.
    pub node_key_signature: Option<String>,
    /// Error text that the client shows to the user verbatim; empty for none.
    pub error: String,
}

/// The owner of a registered node (`tailcfg.User`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RegisterUser {
    /// User id; 0 for none.
    #[serde(rename = "ID")]
    pub id: u64,
    /// Display name.
    pub display_name: String,
    /// URL of a picture; empty for none.
    #[serde(rename = "ProfilePicURL", default, skip_serializing_if = "String::is_empty")]
    pub profile_pic_url: String,
}

/// The login of a node's owner (`tailcfg.Login`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RegisterLogin {
    /// Login id; 0 for none.
    #[serde(rename = "ID")]
    pub id: u64,
    /// Name of the identity provider.
    pub provider: String,
    /// Login name, usually an e-mail address.
    pub login_name: String,
    /// Display name.
    pub display_name: String,
    /// URL of a picture; empty for none.
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

    /// Reports that the login is complete.
    pub fn success(user: RegisterUser, login: RegisterLogin) -> RegisterResponse {
        RegisterResponse { user, login, machine_authorized: true, ..RegisterResponse::blank() }
    }

    /// Refuses the login; the client shows `error` to the user.
    pub fn refused(error: impl Into<String>) -> RegisterResponse {
        RegisterResponse { error: error.into(), ..RegisterResponse::blank() }
    }

    /// Sends the user to `url` to complete the login.
    pub fn visit(url: String) -> RegisterResponse {
        RegisterResponse { auth_url: url, ..RegisterResponse::blank() }
    }

    /// Reports that the node key has expired: the client creates a new one and registers again.
    pub fn key_expired() -> RegisterResponse {
        RegisterResponse { node_key_expired: true, ..RegisterResponse::blank() }
    }
}
