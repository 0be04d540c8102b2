//! Users as clients see them.

use serde::{Deserialize, Serialize};

use crate::ids::UserId;
use crate::json::is_default;

/// What clients display about a user (`tailcfg.UserProfile`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UserProfile {
    /// The user's id.
    #[serde(rename = "ID")]
    pub id: UserId,
    /// Login name, usually an e-mail address.
    #[serde(default)]
    pub login_name: String,
    /// Display name.
    #[serde(default)]
    pub display_name: String,
    /// URL of a picture; empty for none.
    #[serde(rename = "ProfilePicURL", default, skip_serializing_if = "is_default")]
    pub profile_pic_url: String,
}
