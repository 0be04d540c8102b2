//! Selectors: the names under which a policy refers to users, nodes and addresses. One parser, one formatter.

use std::fmt;
use std::str::FromStr;

use crate::text::net::Net;

/// A selector, as written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selector {
    /// `*`
    Any,
    /// A user, by e-mail address, login name with `@`, or identity provider id.
    User(String),
    /// `user:*@domain`: every user of a domain.
    Domain(String),
    /// `group:name`, kept with its prefix.
    Group(String),
    /// `tag:name`, kept with its prefix.
    Tag(String),
    /// `autogroup:name`
    Auto(Auto),
    /// An address, prefix or range.
    Net(Net),
    /// `ipset:name`, kept with its prefix.
    IpSet(String),
    /// `svc:name`, kept with its prefix.
    Service(String),
    /// A name from `hosts`.
    Host(String),
}

/// The built-in groups.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Auto {
    /// Every user of the tailnet, and the nodes they own.
    Member,
    /// Every tagged node.
    Tagged,
    /// As a destination: the nodes of the same user.
    SelfOwned,
    /// As a destination: the internet through an exit node.
    Internet,
    /// As a source: any address at all.
    DangerAll,
    /// As an SSH user: any account but root.
    NonRoot,
    /// Users of other tailnets with whom nodes are shared.
    Shared,
    /// Users with a role.
    Role(Role),
    /// An unknown name; kept for messages.
    Unknown(String),
}

/// What a user may do in the tailnet.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// No special rights.
    #[default]
    Member,
    /// Sees everything, changes nothing.
    Auditor,
    /// Manages billing.
    BillingAdmin,
    /// Manages the network and the policy.
    NetworkAdmin,
    /// Manages users and devices.
    ItAdmin,
    /// Manages everything.
    Admin,
    /// Owns the tailnet; an admin too.
    Owner,
}

impl Role {
    /// The name in `autogroup:…`.
    pub fn name(self) -> &'static str {
        match self {
            Role::Member => "member",
            Role::Auditor => "auditor",
            Role::BillingAdmin => "billing-admin",
            Role::NetworkAdmin => "network-admin",
            Role::ItAdmin => "it-admin",
            Role::Admin => "admin",
            Role::Owner => "owner",
        }
    }

    /// All roles, from the least to the most powerful.
    pub const ALL: [Role; 7] = [
        Role::Member,
        Role::Auditor,
        Role::BillingAdmin,
        Role::NetworkAdmin,
        Role::ItAdmin,
        Role::Admin,
        Role::Owner,
    ];

    /// Whether a user with this role belongs to the autogroup of another: owners are admins too.
    pub fn includes(self, group: Role) -> bool {
        self == group || (self == Role::Owner && group == Role::Admin)
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Role, String> {
        Role::ALL.into_iter().find(|r| r.name() == text).ok_or_else(|| {
            let all = Role::ALL.map(|r| format!("`{}`", r.name())).join(", ");
            format!("`{text}` is not a role; choose one of {all}")
        })
    }
}

/// Roles that have an autogroup of their own name.
pub(crate) const ROLE_GROUPS: [Role; 6] =
    [Role::Auditor, Role::BillingAdmin, Role::NetworkAdmin, Role::ItAdmin, Role::Admin, Role::Owner];

impl Auto {
    fn parse(name: &str) -> Auto {
        match name {
            "member" | "members" => Auto::Member,
            "tagged" => Auto::Tagged,
            "self" => Auto::SelfOwned,
            "internet" => Auto::Internet,
            "danger-all" => Auto::DangerAll,
            "nonroot" => Auto::NonRoot,
            "shared" => Auto::Shared,
            _ => ROLE_GROUPS
                .into_iter()
                .find(|r| r.name() == name)
                .map_or_else(|| Auto::Unknown(name.into()), Auto::Role),
        }
    }
}

impl fmt::Display for Auto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Auto::Member => "member",
            Auto::Tagged => "tagged",
            Auto::SelfOwned => "self",
            Auto::Internet => "internet",
            Auto::DangerAll => "danger-all",
            Auto::NonRoot => "nonroot",
            Auto::Shared => "shared",
            Auto::Role(r) => r.name(),
            Auto::Unknown(name) => name,
        })
    }
}

impl Selector {
    /// Reads a selector, ignoring surrounding space. Anything unrecognised is the name of a host.
    pub fn parse(text: &str) -> Selector {
        let text = text.trim();
        if text == "*" {
            return Selector::Any;
        }
        if let Some(name) = text.strip_prefix("autogroup:") {
            return Selector::Auto(Auto::parse(name));
        }
        if let Some(domain) = text.strip_prefix("user:*@") {
            return Selector::Domain(domain.into());
        }
        for (prefix, make) in [
            ("group:", Selector::Group as fn(String) -> Selector),
            ("tag:", Selector::Tag),
            ("ipset:", Selector::IpSet),
            ("svc:", Selector::Service),
        ] {
            if text.starts_with(prefix) {
                return make(text.into());
            }
        }
        if let Some(name) = text.strip_prefix("user:") {
            return Selector::User(name.into());
        }
        if text.contains('@') {
            return Selector::User(text.into());
        }
        match Net::parse(text) {
            Some(net) => Selector::Net(net),
            None => Selector::Host(text.into()),
        }
    }

    /// Whether it names users rather than nodes or addresses, so that `autogroup:self` may follow.
    pub(crate) fn is_people(&self) -> bool {
        matches!(
            self,
            Selector::User(_)
                | Selector::Domain(_)
                | Selector::Group(_)
                | Selector::Auto(Auto::Member | Auto::Role(_) | Auto::Shared)
        )
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Any => f.write_str("*"),
            Selector::User(s) if !s.contains('@') => write!(f, "user:{s}"),
            Selector::User(s)
            | Selector::Group(s)
            | Selector::Tag(s)
            | Selector::IpSet(s)
            | Selector::Service(s)
            | Selector::Host(s) => f.write_str(s),
            Selector::Domain(d) => write!(f, "user:*@{d}"),
            Selector::Auto(a) => write!(f, "autogroup:{a}"),
            Selector::Net(n) => n.fmt(f),
        }
    }
}
