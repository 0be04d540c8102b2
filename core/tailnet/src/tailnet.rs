//! The whole state of a tailnet as one value.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use headsail_wire::ids::{ApiKeyId, AuthKeyId, NodeId, UserId};
use headsail_wire::keys::{MachineKey, NodeKey};
use headsail_wire::user::UserProfile;

use crate::access::Access;
use crate::change::{Change, Sequence};
use crate::commit::{Commit, Loaded, Revision, Since};
use crate::model::key::{ApiKey, AuthKey};
use crate::model::node::{Node, Owner, Presence, Tombstone};
use crate::model::policy::PolicyRow;
use crate::model::settings::Settings;
use crate::model::ssh_check::SshCheck;
use crate::model::ticket::Ticket;
use crate::model::user::{User, tagged_devices_profile};
use crate::table::{Index, Table};

/// The state of a tailnet: its rows, and what is derived from them. A clone is cheap and independent.
///
/// Rows change only through [`Tailnet::apply`] and its relatives.
#[derive(Clone)]
pub struct Tailnet {
    revision: Revision,
    version: u64,
    pub(crate) settings: Arc<Settings>,
    pub(crate) users: Table<User>,
    pub(crate) nodes: Table<Node>,
    pub(crate) auth_keys: Table<AuthKey>,
    pub(crate) api_keys: Table<ApiKey>,
    pub(crate) tombstones: Index<NodeKey, Arc<Tombstone>>,
    pub(crate) tickets: Arc<BTreeMap<String, Arc<Ticket>>>,
    ssh_checks: Arc<BTreeMap<String, Arc<SshCheck>>>,
    policy: Option<Arc<PolicyRow>>,
    access: Access,
    next_ids: BTreeMap<Sequence, u64>,
    by_node_key: Index<NodeKey, NodeId>,
    by_machine: Index<MachineKey, Vec<NodeId>>,
    by_name: Index<String, NodeId>,
    by_ip: Index<IpAddr, NodeId>,
    by_auth_prefix: Index<String, AuthKeyId>,
    by_api_prefix: Index<String, ApiKeyId>,
}

impl Tailnet {
    /// A tailnet without rows.
    pub fn empty(settings: Arc<Settings>) -> Tailnet {
        Tailnet {
            revision: Revision::default(),
            version: 0,
            settings,
            users: Table::default(),
            nodes: Table::default(),
            auth_keys: Table::default(),
            api_keys: Table::default(),
            tombstones: Index::default(),
            tickets: Arc::default(),
            ssh_checks: Arc::default(),
            policy: None,
            access: Access::none(),
            next_ids: BTreeMap::new(),
            by_node_key: Index::default(),
            by_machine: Index::default(),
            by_name: Index::default(),
            by_ip: Index::default(),
            by_auth_prefix: Index::default(),
            by_api_prefix: Index::default(),
        }
    }

    /// The revision of the store that has these rows.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Increases with every list of changes that is applied, including changes that no store keeps. Snapshots of one clerk
    /// with the same version are equal.
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    pub fn user(&self, id: UserId) -> Option<&Arc<User>> {
        self.users.get(id.get())
    }

    /// All users, by id.
    pub fn users(&self) -> impl Iterator<Item = &Arc<User>> {
        self.users.iter()
    }

    pub fn node(&self, id: NodeId) -> Option<&Arc<Node>> {
        self.nodes.get(id.get())
    }

    /// All nodes, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.iter()
    }

    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    pub fn node_by_key(&self, key: &NodeKey) -> Option<&Arc<Node>> {
        self.node(*self.by_node_key.get(key)?)
    }

    /// The node with this DNS label.
    pub fn node_by_name(&self, name: &str) -> Option<&Arc<Node>> {
        self.node(*self.by_name.get(&name.to_owned())?)
    }

    /// Whether a node may have this DNS label: no other node has it, and no extra DNS record.
    pub(crate) fn is_name_free(&self, name: &str, node: Option<NodeId>) -> bool {
        self.node_by_name(name).is_none_or(|other| Some(other.id) == node) && !self.settings.has_record(name)
    }

    pub fn node_by_ip(&self, ip: IpAddr) -> Option<&Arc<Node>> {
        self.node(*self.by_ip.get(&ip)?)
    }

    /// The node with this key, unless its login has expired.
    pub fn valid_node_by_key(&self, key: &NodeKey) -> Option<&Arc<Node>> {
        self.node_by_key(key).filter(|node| !node.expiry.is_past())
    }

    /// The node keys that were valid in `then` and no longer are: of deleted and of expired nodes, and those that were
    /// rotated away.
    pub fn keys_gone_since(&self, then: &Tailnet) -> Vec<NodeKey> {
        let touched = self.nodes.touched_since(&then.nodes);
        let old = touched.into_iter().filter_map(|id| then.nodes.get(id));
        old.map(|n| n.node_key).filter(|key| self.valid_node_by_key(key).is_none()).collect()
    }

    /// The nodes of a machine, one for each owner that it has logged in as.
    pub fn nodes_of_machine(&self, key: &MachineKey) -> impl Iterator<Item = &Arc<Node>> {
        self.by_machine.get(key).into_iter().flatten().filter_map(|id| self.node(*id))
    }

    pub fn tombstone(&self, key: &NodeKey) -> Option<&Arc<Tombstone>> {
        self.tombstones.get(key)
    }

    pub fn auth_key(&self, id: AuthKeyId) -> Option<&Arc<AuthKey>> {
        self.auth_keys.get(id.get())
    }

    /// All pre-auth keys, by id.
    pub fn auth_keys(&self) -> impl Iterator<Item = &Arc<AuthKey>> {
        self.auth_keys.iter()
    }

    /// The pre-auth key with this public part.
    pub fn auth_key_by_prefix(&self, prefix: &str) -> Option<&Arc<AuthKey>> {
        self.auth_key(*self.by_auth_prefix.get(&prefix.to_owned())?)
    }

    pub fn api_key(&self, id: ApiKeyId) -> Option<&Arc<ApiKey>> {
        self.api_keys.get(id.get())
    }

    /// All API keys, by id.
    pub fn api_keys(&self) -> impl Iterator<Item = &Arc<ApiKey>> {
        self.api_keys.iter()
    }

    /// The API key with this public part.
    pub fn api_key_by_prefix(&self, prefix: &str) -> Option<&Arc<ApiKey>> {
        self.api_key(*self.by_api_prefix.get(&prefix.to_owned())?)
    }

    /// A login, pending or settled.
    pub fn ticket(&self, id: &str) -> Option<&Arc<Ticket>> {
        self.tickets.get(id)
    }

    /// All logins, pending and settled.
    pub fn tickets(&self) -> impl Iterator<Item = &Arc<Ticket>> {
        self.tickets.values()
    }

    /// An SSH check, pending or settled.
    pub fn ssh_check(&self, id: &str) -> Option<&Arc<SshCheck>> {
        self.ssh_checks.get(id)
    }

    /// All SSH checks, pending and settled.
    pub fn ssh_checks(&self) -> impl Iterator<Item = &Arc<SshCheck>> {
        self.ssh_checks.values()
    }

    pub fn ssh_check_count(&self) -> usize {
        self.ssh_checks.len()
    }

    /// The active policy, if one was set.
    pub fn policy(&self) -> Option<&Arc<PolicyRow>> {
        self.policy.as_ref()
    }

    /// Who may reach whom, and who serves which route.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The profile that clients receive for an owner.
    pub fn profile(&self, owner: &Owner) -> UserProfile {
        match owner {
            Owner::User(id) => match self.user(*id) {
                Some(user) => user.profile(),
                None => UserProfile {
                    id: *id,
                    login_name: "unknown".into(),
                    display_name: "unknown".into(),
                    profile_pic_url: String::new(),
                },
            },
            Owner::Tags(_) => tagged_devices_profile(),
        }
    }

    /// The id of the next row of a sequence.
    pub fn next_id(&self, sequence: Sequence) -> u64 {
        self.next_ids.get(&sequence).copied().unwrap_or(1)
    }

    /// The highest addresses that nodes have ever had, IPv4 and IPv6: the next ones lie behind them, so that the address of
    /// a deleted node is not soon another node's, not after a restart either.
    pub(crate) fn highest_addresses(&self) -> (Option<IpAddr>, Option<IpAddr>) {
        let highest = |sequence| self.next_ids.get(&sequence).map(|next| next.saturating_sub(1));
        let v4 = highest(Sequence::V4).and_then(|n| u32::try_from(n).ok());
        let v6 = highest(Sequence::V6).zip(self.settings.v6);
        (
            v4.map(|n| IpAddr::V4(Ipv4Addr::from_bits(n))),
            v6.map(|(n, net)| IpAddr::V6(Sequence::v6_address(net, n))),
        )
    }

    /// Whether an address belongs to a node.
    pub(crate) fn is_taken(&self, ip: IpAddr) -> bool {
        self.by_ip.get(&ip).is_some()
    }

    /// A tailnet with the rows that a store has loaded.
    pub fn of(settings: Arc<Settings>, loaded: &Loaded) -> Tailnet {
        let mut tailnet = Tailnet::empty(settings);
        tailnet.apply(&loaded.changes);
        tailnet.revision = loaded.revision;
        tailnet
    }

    /// Applies changes in order, and increases the version by one.
    pub fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            self.apply_one(change);
        }
        self.version += 1;
    }

    /// Applies a commit, and adopts its revision.
    pub fn apply_commit(&mut self, commit: &Commit) {
        for change in commit.changes() {
            self.apply_one(change);
        }
        self.version += 1;
        self.revision = commit.revision;
    }

    /// Adopts the revision of a commit whose changes are already applied.
    pub(crate) fn reach(&mut self, revision: Revision) {
        self.revision = revision;
    }

    /// Applies what other writers committed. Rows that live in memory only stay as they are.
    pub fn catch_up(&mut self, since: &Since) {
        match since {
            Since::Commits(commits) => commits.iter().for_each(|commit| self.apply_commit(commit)),
            Since::Rows(loaded) => {
                let mut next = Tailnet::of(self.settings.clone(), loaded);
                if let Some(row) = self.policy.take().filter(|row| !row.kept) {
                    next.apply_one(&Change::Policy(row));
                }
                next.tickets = self.tickets.clone();
                next.ssh_checks = self.ssh_checks.clone();
                next.version = self.version + 1;
                *self = next;
            }
        }
    }

    fn apply_one(&mut self, change: &Change) {
        match change {
            Change::User(user) => {
                self.count(Sequence::Users, user.id.get());
                self.access.put_user(user);
                self.users.put(user.id.get(), user.clone());
            }
            Change::UserGone(id) => {
                self.access.remove_user(*id);
                self.users.remove(id.get());
            }
            Change::Node(node) => self.put_node(node.clone()),
            Change::NodeGone(id) => {
                if let Some(node) = self.nodes.remove(id.get()) {
                    self.unlink(&node);
                    self.access.remove_node(&node);
                }
            }
            Change::Contact(id, contact) => {
                self.edit_node(*id, |node| node.contact = contact.clone());
            }
            Change::Presence(id, presence) => self.edit_node(*id, |node| node.presence = *presence),
            Change::Tombstone(stone) => self.tombstones.put(stone.node_key, stone.clone()),
            Change::TombstoneGone(key) => self.tombstones.remove(key),
            Change::AuthKey(key) => {
                self.count(Sequence::AuthKeys, key.id.get());
                self.by_auth_prefix.put(key.prefix.clone(), key.id);
                self.auth_keys.put(key.id.get(), key.clone());
            }
            Change::AuthKeyGone(id) => {
                if let Some(key) = self.auth_keys.remove(id.get()) {
                    self.by_auth_prefix.remove(&key.prefix);
                }
            }
            Change::ApiKey(key) => {
                self.count(Sequence::ApiKeys, key.id.get());
                self.by_api_prefix.put(key.prefix.clone(), key.id);
                self.api_keys.put(key.id.get(), key.clone());
            }
            Change::ApiKeyGone(id) => {
                if let Some(key) = self.api_keys.remove(id.get()) {
                    self.by_api_prefix.remove(&key.prefix);
                }
            }
            Change::Ticket(ticket) => {
                Arc::make_mut(&mut self.tickets).insert(ticket.id.clone(), ticket.clone());
            }
            Change::TicketGone(id) => {
                Arc::make_mut(&mut self.tickets).remove(id);
            }
            Change::Settings(settings) => self.settings = settings.clone(),
            Change::SshCheck(check) => {
                Arc::make_mut(&mut self.ssh_checks).insert(check.id.clone(), check.clone());
            }
            Change::SshCheckGone(id) => {
                Arc::make_mut(&mut self.ssh_checks).remove(id);
            }
            Change::Policy(row) => {
                self.access.set_policy(row.policy.clone());
                self.policy = Some(row.clone());
            }
            Change::NextId(sequence, next) => self.count(*sequence, next.saturating_sub(1)),
        }
    }

    /// Reserves the ids of a sequence up to and including `used`.
    fn count(&mut self, sequence: Sequence, used: u64) {
        let next = self.next_ids.entry(sequence).or_insert(1);
        *next = (*next).max(used.saturating_add(1));
    }

    fn edit_node(&mut self, id: NodeId, edit: impl FnOnce(&mut Node)) {
        if let Some(node) = self.nodes.get(id.get()) {
            let was = node.clone();
            let mut node = Node::clone(node);
            edit(&mut node);
            self.access.put_node(Some(&was), &node);
            self.nodes.put(id.get(), Arc::new(node));
        }
    }

    fn put_node(&mut self, node: Arc<Node>) {
        let old = self.nodes.get(node.id.get()).cloned();
        if let Some(old) = &old {
            self.unlink(old);
        }
        self.access.put_node(old.as_deref(), &node);
        self.count(Sequence::Nodes, node.id.get());
        self.by_node_key.put(node.node_key, node.id);
        let mut of_machine = self.by_machine.get(&node.machine_key).cloned().unwrap_or_default();
        of_machine.push(node.id);
        of_machine.sort();
        self.by_machine.put(node.machine_key, of_machine);
        self.by_name.put(node.name.clone(), node.id);
        for ip in node.ips() {
            self.by_ip.put(ip, node.id);
            let (sequence, number) = Sequence::of_address(ip);
            self.count(sequence, number);
        }
        self.nodes.put(node.id.get(), node);
    }

    fn unlink(&mut self, node: &Node) {
        self.by_node_key.remove(&node.node_key);
        let mut of_machine = self.by_machine.get(&node.machine_key).cloned().unwrap_or_default();
        of_machine.retain(|id| *id != node.id);
        if of_machine.is_empty() {
            self.by_machine.remove(&node.machine_key);
        } else {
            self.by_machine.put(node.machine_key, of_machine);
        }
        self.by_name.remove(&node.name);
        for ip in node.ips() {
            self.by_ip.remove(&ip);
        }
    }

    /// Every row that a store keeps, as the change that creates it. Rows that live in memory only are left out.
    pub fn dump(&self) -> Vec<Change> {
        let mut out = Vec::new();
        out.extend(self.users.iter().map(|u| Change::User(u.clone())));
        out.extend(self.auth_keys.iter().map(|k| Change::AuthKey(k.clone())));
        out.extend(self.api_keys.iter().map(|k| Change::ApiKey(k.clone())));
        out.extend(self.nodes.iter().map(|n| Change::Node(n.clone())));
        let mut stones: Vec<_> = self.tombstones.iter().map(|(_, s)| s.clone()).collect();
        stones.sort_by_key(|s| s.node_key);
        out.extend(stones.into_iter().map(Change::Tombstone));
        out.extend(self.policy.iter().filter(|p| p.kept).map(|p| Change::Policy(p.clone())));
        out.extend(self.next_ids.iter().map(|(sequence, next)| Change::NextId(*sequence, *next)));
        out
    }
}

/// The presence of a node after a restart. A node that was connected gets the grace period to reconnect.
pub fn revive(presence: Presence, now: headsail_wire::time::Time, grace_millis: i64) -> Presence {
    match presence {
        Presence::Online { since, .. } | Presence::Lingering { since, .. } => {
            Presence::Lingering { since, left: now, until: now.plus_millis(grace_millis) }
        }
        Presence::Offline { .. } => presence,
    }
}
