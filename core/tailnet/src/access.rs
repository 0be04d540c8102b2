//! Which nodes may reach which, and which router serves each route. Derived from rows, and updated as they change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headsail_policy::{
    Engine, NodeFacts, Owner as PolicyOwner, Policy, Role, UserFacts, is_exit_route, routes,
};
use headsail_wire::ids::{NodeId, UserId};
use ipnet::{IpNet, Ipv4Net};

use crate::model::node::{Node, Owner};
use crate::model::user::User;
use crate::table::Table;

/// The policy applied to users and nodes, and the primary router of each subnet route.
#[derive(Clone)]
pub struct Access {
    engine: Engine,
    prefixes: Arc<BTreeMap<IpNet, Served>>,
    /// For each router, the subnet routes of which it is the primary. A row is written again whenever peers may receive different
    /// routes for that router, so that a delta looks at it.
    routers: Table<Vec<IpNet>>,
    /// The roles of all users who are not just members.
    roles: Arc<BTreeMap<UserId, Role>>,
    stamp: u64,
}

/// The routers of a subnet route.
#[derive(Clone, Default)]
struct Served {
    servers: BTreeSet<NodeId>,
    primary: Option<NodeId>,
}

impl Access {
    /// No users, no nodes and no policy.
    pub fn none() -> Access {
        Access {
            engine: Engine::new(Arc::new(Policy::none()), [], []),
            prefixes: Arc::default(),
            routers: Table::default(),
            roles: Arc::default(),
            stamp: 0,
        }
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Whether no answer of the two engines differs: one was made of the other, and nothing has raised the stamp since.
    pub fn has_answers_of(&self, other: &Access) -> bool {
        self.stamp == other.stamp && self.engine.is_related(&other.engine)
    }

    /// Routers for which peers may receive different routes, although their own rows may be unchanged.
    pub fn routers_touched_since(&self, then: &Access) -> Vec<u64> {
        self.routers.touched_since(&then.routers)
    }

    /// The subnet routes of which a node is the primary.
    pub fn primary_routes(&self, id: NodeId) -> &[IpNet] {
        self.routers.get(id.get()).map_or(&[], |routes| routes.as_slice())
    }

    /// The primary router of a subnet route.
    pub fn primary(&self, route: &IpNet) -> Option<NodeId> {
        self.prefixes.get(route)?.primary
    }

    pub fn role(&self, user: UserId) -> Role {
        self.roles.get(&user).copied().unwrap_or_default()
    }

    /// Whether any user has a role other than member.
    pub fn has_roles(&self) -> bool {
        !self.roles.is_empty()
    }

    pub(crate) fn set_policy(&mut self, policy: Arc<Policy>) {
        self.engine = self.engine.with_policy(policy);
        self.stamp += 1;
    }

    pub(crate) fn put_user(&mut self, user: &User) {
        if self.role(user.id) != user.role {
            self.put_role(user.id, user.role);
        }
        let facts = user_facts(user);
        if self.engine.user(user.id) != Some(&facts) {
            self.engine.upsert_user(facts);
            self.stamp += 1;
        }
    }

    fn put_role(&mut self, user: UserId, role: Role) {
        let roles = Arc::make_mut(&mut self.roles);
        if role == Role::Member {
            roles.remove(&user);
        } else {
            roles.insert(user, role);
        }
    }

    pub(crate) fn remove_user(&mut self, id: UserId) {
        if self.role(id) != Role::Member {
            self.put_role(id, Role::Member);
        }
        self.engine.remove_user(id);
        self.stamp += 1;
    }

    pub(crate) fn put_node(&mut self, was: Option<&Node>, now: &Node) {
        self.upsert(facts(now, self.primary_routes(now.id).to_vec()));
        let (old, new) = (was.map(subnets).unwrap_or_default(), subnets(now));
        let same = old == new && was.is_none_or(|w| available(w) == available(now));
        if same && (was.is_some() || new.is_empty()) {
            return;
        }
        self.hold_elections(now.id, &old, &new);
    }

    pub(crate) fn remove_node(&mut self, was: &Node) {
        self.hold_elections(was.id, &subnets(was), &BTreeSet::new());
        self.routers.remove(was.id.get());
        self.engine.remove_node(was.id);
        self.stamp += 1;
    }

    fn upsert(&mut self, facts: NodeFacts) {
        if self.engine.node(facts.id) != Some(&facts) {
            self.engine.upsert_node(facts);
            self.stamp += 1;
        }
    }

    /// Elects the primary again for every route that a node serves or served. The current primary stays while it is available;
    /// if no router is available, the last primary keeps the route.
    fn hold_elections(&mut self, id: NodeId, old: &BTreeSet<IpNet>, new: &BTreeSet<IpNet>) {
        let mut concerned = BTreeSet::from([id]);
        for route in old.union(new) {
            let served = Arc::make_mut(&mut self.prefixes).entry(*route).or_default();
            match new.contains(route) {
                true => served.servers.insert(id),
                false => served.servers.remove(&id),
            };
            let servers = served.servers.clone();
            let previous = served.primary;
            let available =
                servers.iter().copied().filter(|n| self.engine.node(*n).is_some_and(|f| f.available));
            let elected = routes::elect(previous, available)
                .or(previous.filter(|p| servers.contains(p)))
                .or_else(|| servers.first().copied());
            concerned.extend(servers.iter().copied().chain(previous));
            match Arc::make_mut(&mut self.prefixes).get_mut(route) {
                Some(served) if elected.is_some() => served.primary = elected,
                _ => drop(Arc::make_mut(&mut self.prefixes).remove(route)),
            }
        }
        for router in concerned {
            self.refresh_router(router);
        }
    }

    fn refresh_router(&mut self, id: NodeId) {
        let Some(known) = self.engine.node(id) else { return };
        let serves: Vec<IpNet> = known.serves().copied().collect();
        let primary: Vec<IpNet> = serves.iter().filter(|r| self.primary(r) == Some(id)).copied().collect();
        let facts = NodeFacts { primary: primary.clone(), ..known.clone() };
        self.upsert(facts);
        match serves.is_empty() {
            true => drop(self.routers.remove(id.get())),
            false => self.routers.put(id.get(), Arc::new(primary)),
        }
    }

    /// The prefix from which the policy assigns IPv4 addresses to an owner's nodes, if it names one.
    pub fn ip_pool(&self, owner: &Owner) -> Option<Ipv4Net> {
        match self.engine.ip_pool(&policy_owner(owner))? {
            IpNet::V4(net) => Some(net),
            IpNet::V6(_) => None,
        }
    }

    /// The engine as it would be if a user's row were this one.
    pub fn engine_with_user(&self, user: &User) -> Engine {
        let mut engine = self.engine.clone();
        engine.upsert_user(user_facts(user));
        engine
    }

    /// Those of the routes that the policy approves automatically for a node with this row.
    pub fn approvable(&self, node: &Node, routes: &[IpNet]) -> Vec<IpNet> {
        let mut engine = self.engine.clone();
        engine.upsert_node(facts(node, Vec::new()));
        routes.iter().filter(|r| engine.may_approve(node.id, r)).copied().collect()
    }
}

/// The subnet routes that a node advertises and that are approved. Exit routes have no primary.
fn subnets(node: &Node) -> BTreeSet<IpNet> {
    node.live_routes().into_iter().filter(|r| !is_exit_route(r)).collect()
}

/// Whether a router can be a primary: it is online, and its key has not expired.
fn available(node: &Node) -> bool {
    node.presence.is_online() && !node.expiry.is_past()
}

fn policy_owner(owner: &Owner) -> PolicyOwner {
    match owner {
        Owner::User(id) => PolicyOwner::User(*id),
        Owner::Tags(tags) => PolicyOwner::Tags(tags.iter().cloned().collect()),
    }
}

fn user_facts(user: &User) -> UserFacts {
    UserFacts {
        id: user.id,
        name: user.name.clone(),
        email: user.email.clone(),
        provider_id: user.provider_id.clone(),
        display: user.display_name.clone(),
        role: user.role,
    }
}

fn facts(node: &Node, primary: Vec<IpNet>) -> NodeFacts {
    NodeFacts {
        id: node.id,
        owner: policy_owner(&node.owner),
        v4: node.v4,
        v6: node.v6,
        advertised: node.advertised_routes().to_vec(),
        approved: node.live_routes(),
        primary,
        available: available(node),
        name: node.name.clone(),
    }
}
