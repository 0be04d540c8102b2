//! Who may reach whom, and who serves which route: derived from rows, kept up to date as they change.

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

/// The policy applied to users and nodes, and the elections of routers.
#[derive(Clone)]
pub struct Access {
    engine: Engine,
    prefixes: Arc<BTreeMap<IpNet, Served>>,
    /// For each router the subnet routes for which it is in charge. A row is put anew whenever others may be given other
    /// routes of that router, so that a delta looks at it.
    routers: Table<Vec<IpNet>>,
    /// The users who are more than members.
    roles: Arc<BTreeMap<UserId, Role>>,
    stamp: u64,
}

/// A subnet route.
#[derive(Clone, Default)]
struct Served {
    servers: BTreeSet<NodeId>,
    primary: Option<NodeId>,
}

impl Access {
    /// Nobody, and no policy.
    pub fn none() -> Access {
        Access {
            engine: Engine::new(Arc::new(Policy::none()), [], []),
            prefixes: Arc::default(),
            routers: Table::default(),
            roles: Arc::default(),
            stamp: 0,
        }
    }

    /// Answers questions about the policy.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Whether no answer of the two engines differs: one was made of the other, and nothing has raised the stamp since.
    pub fn has_answers_of(&self, other: &Access) -> bool {
        self.stamp == other.stamp && self.engine.is_related(&other.engine)
    }

    /// Nodes whose rows did not change, but of which others may be given other routes.
    pub fn routers_touched_since(&self, then: &Access) -> Vec<u64> {
        self.routers.touched_since(&then.routers)
    }

    /// The subnet routes for which a node is in charge.
    pub fn primary_routes(&self, id: NodeId) -> &[IpNet] {
        self.routers.get(id.get()).map_or(&[], |routes| routes.as_slice())
    }

    /// The node in charge of a subnet route.
    pub fn primary(&self, route: &IpNet) -> Option<NodeId> {
        self.prefixes.get(route)?.primary
    }

    /// What a user may do.
    pub fn role(&self, user: UserId) -> Role {
        self.roles.get(&user).copied().unwrap_or_default()
    }

    /// Whether anybody is more than a member.
    pub fn has_roles(&self) -> bool {
        !self.roles.is_empty()
    }

    /// Another policy holds.
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
        match role {
            Role::Member => roles.remove(&user),
            more => roles.insert(user, more),
        };
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

    /// Elects anew for every route that a node serves or served. Whoever was elected stays in charge while it can; where
    /// nobody is available the last one keeps the route.
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

    /// Where nodes of an owner get their IPv4 addresses, if the policy says so.
    pub fn ip_pool(&self, owner: &Owner) -> Option<Ipv4Net> {
        match self.engine.ip_pool(&policy_owner(owner))? {
            IpNet::V4(net) => Some(net),
            IpNet::V6(_) => None,
        }
    }

    /// The engine as it would be with another row of a user.
    pub fn engine_with_user(&self, user: &User) -> Engine {
        let mut engine = self.engine.clone();
        engine.upsert_user(user_facts(user));
        engine
    }

    /// Those of the routes that the policy would let a node serve, the node being as given.
    pub fn approvable(&self, node: &Node, routes: &[IpNet]) -> Vec<IpNet> {
        let mut engine = self.engine.clone();
        engine.upsert_node(facts(node, Vec::new()));
        routes.iter().filter(|r| engine.may_approve(node.id, r)).copied().collect()
    }
}

/// The subnet routes that a node offers and may serve; exit routes need no election.
fn subnets(node: &Node) -> BTreeSet<IpNet> {
    node.live_routes().into_iter().filter(|r| !is_exit_route(r)).collect()
}

/// Whether a router can be in charge of a route: it is there, and its key is good.
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
