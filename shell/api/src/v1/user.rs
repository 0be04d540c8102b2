//! Users.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::lenient;

/// A user of the tailnet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct User {
    /// The user's id.
    #[serde(with = "lenient::Id")]
    pub id: u64,
    /// The user's unique name.
    pub name: String,
    /// When the user was created.
    #[serde(alias = "created_at", deserialize_with = "lenient::opt_time")]
    pub created_at: Option<Timestamp>,
    /// Display name.
    #[serde(alias = "display_name")]
    pub display_name: String,
    /// E-mail address.
    pub email: String,
    /// The user's identity at the identity provider: issuer and subject.
    #[serde(alias = "provider_id")]
    pub provider_id: String,
    /// The source of the user: empty if created by an administrator, or `oidc`.
    pub provider: String,
    /// URL of a profile picture.
    #[serde(alias = "profile_pic_url")]
    pub profile_pic_url: String,
    /// The user's role, as in `autogroup:…`; empty for a member. Headscale has no roles.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub role: String,
}

/// Id and name of the placeholder user that lists show as the owner of tagged nodes.
pub const TAGGED_DEVICES: (u64, &str) = (2_147_455_555, "tagged-devices");

impl User {
    /// The placeholder user that lists show as the owner of tagged nodes.
    pub fn tagged_devices() -> User {
        User {
            id: TAGGED_DEVICES.0,
            name: TAGGED_DEVICES.1.to_owned(),
            display_name: "Tagged Devices".to_owned(),
            ..User::default()
        }
    }
}

/// A reference to a user: an id or a name. It is a string in JSON; a string of digits is an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserRef {
    /// By id.
    Id(u64),
    /// By name.
    Name(String),
}

impl FromStr for UserRef {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<UserRef, Self::Err> {
        Ok(match text.parse() {
            Ok(id) if text.bytes().all(|b| b.is_ascii_digit()) => UserRef::Id(id),
            _ => UserRef::Name(text.to_owned()),
        })
    }
}

impl fmt::Display for UserRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UserRef::Id(id) => id.fmt(f),
            UserRef::Name(name) => f.write_str(name),
        }
    }
}

impl Serialize for UserRef {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl JsonSchema for UserRef {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "UserRef".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// Parses an optional user: `null`, the empty string and 0 are `None`.
pub(crate) fn opt_user<'de, D: Deserializer<'de>>(d: D) -> Result<Option<UserRef>, D::Error> {
    struct User;
    impl Visitor<'_> for User {
        type Value = Option<UserRef>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a user: an id or a name")
        }
        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_u64<E: Error>(self, id: u64) -> Result<Self::Value, E> {
            Ok(Some(UserRef::Id(id)))
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            let Ok(user) = text.parse();
            Ok(Some(user))
        }
    }
    let user = d.deserialize_any(User)?;
    Ok(user.filter(|u| !matches!(u, UserRef::Id(0)) && *u != UserRef::Name(String::new())))
}

/// Selects the users to list. Only one filter applies: the name, otherwise the e-mail address, otherwise the id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ListUsersQuery {
    /// Only the user with this id.
    #[serde(with = "lenient::OptId", skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Only users with this name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Only users with this e-mail address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub email: String,
}

/// A list of users.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ListUsersResponse {
    /// The users, in order of id.
    pub users: Vec<User>,
}

/// Creates a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["name"]))]
pub struct CreateUserRequest {
    /// The user's unique name.
    #[serde(deserialize_with = "lenient::or_default")]
    pub name: String,
    /// Display name.
    #[serde(alias = "display_name", deserialize_with = "lenient::or_default")]
    pub display_name: String,
    /// E-mail address.
    #[serde(deserialize_with = "lenient::or_default")]
    pub email: String,
    /// URL of a profile picture.
    #[serde(alias = "picture_url", deserialize_with = "lenient::or_default")]
    pub picture_url: String,
}

/// Sets a user's role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["role"]))]
pub struct SetRoleRequest {
    /// The role, as in `autogroup:…`: `member`, `auditor`, `billing-admin`, `network-admin`, `it-admin`, `admin` or
    /// `owner`.
    #[serde(deserialize_with = "lenient::or_default")]
    pub role: String,
}

/// One user, as it is after the operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UserResponse {
    /// The user.
    pub user: User,
}
