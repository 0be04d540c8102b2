//! What the policy needs to know about users and nodes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use headsail_wire::ids::{NodeId, UserId};
use ipnet::IpNet;

pub use crate::text::selector::Role;

/// A user, as far as the policy is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserFacts {
    /// Row id.
    pub id: UserId,
    /// Login name.
    pub name: String,
    /// E-mail address; may be empty.
    pub email: String,
    /// Id given by the identity provider; empty for local users.
    pub provider_id: String,
    /// Display name; may be empty.
    pub display: String,
    /// What the user may do; decides membership in `autogroup:admin` and the like.
    pub role: Role,
}

impl UserFacts {
    /// The domain of the e-mail address, in lower case; none without an address.
    pub fn domain(&self) -> Option<String> {
        self.email.rsplit_once('@').map(|(_, domain)| domain.to_lowercase())
    }
}

/// Who owns a node: one user, or its tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A user.
    User(UserId),
    /// Tags with their `tag:` prefix; at least one.
    Tags(Vec<String>),
}

/// A node, as far as the policy is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Row id. The lowest wins elections.
    pub id: NodeId,
    /// Who owns it.
    pub owner: Owner,
    /// Its IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub v6: Option<Ipv6Addr>,
    /// Routes that it advertises.
    pub advertised: Vec<IpNet>,
    /// Approved routes. Those no longer advertised have no effect.
    pub approved: Vec<IpNet>,
    /// Subnet routes for which it was elected ([`crate::routes::elect`]).
    pub primary: Vec<IpNet>,
    /// Whether it may be elected for a route that a grant sends through it: connected, and not found unhealthy.
    pub available: bool,
    /// Its given name, for explanations.
    pub name: String,
}

impl NodeFacts {
    /// A node without routes, available for elections.
    pub fn new(id: NodeId, owner: Owner, v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) -> NodeFacts {
        NodeFacts {
            id,
            owner,
            v4,
            v6,
            advertised: Vec::new(),
            approved: Vec::new(),
            primary: Vec::new(),
            available: true,
            name: String::new(),
        }
    }

    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }

    /// Routes that are both advertised and approved.
    pub fn serves(&self) -> impl Iterator<Item = &IpNet> {
        self.approved.iter().filter(|r| self.advertised.contains(r))
    }

    /// The user who owns it; none when it is tagged.
    pub fn user(&self) -> Option<UserId> {
        match self.owner {
            Owner::User(id) => Some(id),
            Owner::Tags(_) => None,
        }
    }

    /// Its tags; none when a user owns it.
    pub fn tags(&self) -> &[String] {
        match &self.owner {
            Owner::User(_) => &[],
            Owner::Tags(tags) => tags,
        }
    }
}

/// How a token of a policy refers to a user, if it does: 0 by identity provider id, 1 by e-mail address, 2 by login
/// name. Lower is better.
pub(crate) fn user_rank(token: &str, user: &UserFacts) -> Option<u8> {
    if !user.provider_id.is_empty() && user.provider_id == token {
        return Some(0);
    }
    if !user.email.is_empty() && user.email.eq_ignore_ascii_case(token) {
        return Some(1);
    }
    let name = token.strip_suffix('@').unwrap_or(token);
    (!user.name.is_empty() && user.name == name).then_some(2)
}

/// A token without what [`user_rank`] ignores: case, and the `@` after a login name. Tokens that refer to one user fold
/// to the same text.
pub(crate) fn folded(token: &str) -> String {
    token.strip_suffix('@').unwrap_or(token).to_ascii_lowercase()
}
