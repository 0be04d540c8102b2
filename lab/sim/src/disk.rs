//! A store, as plainly as it can be written: rows by number, and what was written along but not flushed.

use std::collections::BTreeMap;
use std::sync::Arc;

use headsail_tailnet::change::{Change, Durability, Sequence};
use headsail_tailnet::model::key::{ApiKey, AuthKey};
use headsail_tailnet::model::node::{Node, Tombstone};
use headsail_tailnet::model::policy::PolicyRow;
use headsail_tailnet::model::user::User;
use headsail_wire::ids::{ApiKeyId, AuthKeyId, NodeId, UserId};
use headsail_wire::keys::NodeKey;

/// The disk refused.
#[derive(Debug)]
pub struct Refused;

/// What survives the process. It shares no code with the tailnet's own tables: it is the reference for them.
#[derive(Default)]
pub struct Disk {
    /// Whether every write fails from now on.
    pub broken: bool,
    /// Whether it refused something since the process started that nobody waited for.
    pub missed: bool,
    users: BTreeMap<UserId, Arc<User>>,
    auth_keys: BTreeMap<AuthKeyId, Arc<AuthKey>>,
    api_keys: BTreeMap<ApiKeyId, Arc<ApiKey>>,
    nodes: BTreeMap<NodeId, Arc<Node>>,
    tombstones: BTreeMap<NodeKey, Arc<Tombstone>>,
    policy: Option<Arc<PolicyRow>>,
    next_ids: BTreeMap<Sequence, u64>,
    unflushed: Vec<Change>,
}

impl Disk {
    /// A disk with these rows.
    pub fn with(rows: &[Change]) -> Disk {
        let mut disk = Disk::default();
        rows.iter().for_each(|row| disk.write(row));
        disk
    }

    /// Writes a list of changes, all or nothing, with whatever was written along before. Volatile facts alone are written
    /// along: they are lost if the process dies before the next flush. What lives in memory only doesn't reach the disk.
    ///
    /// # Errors
    /// The disk is broken: nothing was written.
    pub fn commit(&mut self, changes: &[Change]) -> Result<(), Refused> {
        let has = |durability| changes.iter().any(|change| change.durability() == durability);
        let (durable, volatile) = (has(Durability::Durable), has(Durability::Volatile));
        if self.broken && (durable || volatile) {
            self.missed |= volatile;
            return Err(Refused);
        }
        match durable {
            true => {
                self.flush();
                changes.iter().for_each(|change| self.write(change));
            }
            false => self.write_along(changes),
        }
        Ok(())
    }

    /// Takes changes that nobody waits for.
    pub fn write_along(&mut self, changes: &[Change]) {
        self.unflushed.extend_from_slice(changes);
    }

    /// Writes what was taken along, if it can.
    pub fn flush(&mut self) {
        if self.broken {
            return;
        }
        for change in std::mem::take(&mut self.unflushed) {
            self.write(&change);
        }
    }

    /// The process has ended: what was not flushed is lost.
    pub fn lose_unflushed(&mut self) {
        self.unflushed.clear();
        self.missed = false;
    }

    /// Every row, as the changes that make it.
    pub fn load(&self) -> Vec<Change> {
        let users = self.users.values().cloned().map(Change::User);
        let auth_keys = self.auth_keys.values().cloned().map(Change::AuthKey);
        let api_keys = self.api_keys.values().cloned().map(Change::ApiKey);
        let nodes = self.nodes.values().cloned().map(Change::Node);
        let tombstones = self.tombstones.values().cloned().map(Change::Tombstone);
        let policy = self.policy.iter().cloned().map(Change::Policy);
        let next_ids = self.next_ids.iter().map(|(sequence, next)| Change::NextId(*sequence, *next));
        users
            .chain(auth_keys)
            .chain(api_keys)
            .chain(nodes)
            .chain(tombstones)
            .chain(policy)
            .chain(next_ids)
            .collect()
    }

    fn write(&mut self, change: &Change) {
        match change {
            Change::User(row) => {
                self.count(Sequence::Users, row.id.get());
                self.users.insert(row.id, row.clone());
            }
            Change::UserGone(id) => drop(self.users.remove(id)),
            Change::Node(row) => {
                self.count(Sequence::Nodes, row.id.get());
                self.nodes.insert(row.id, row.clone());
            }
            Change::NodeGone(id) => drop(self.nodes.remove(id)),
            Change::Contact(id, contact) => self.edit(*id, |node| node.contact = contact.clone()),
            Change::Presence(id, presence) => self.edit(*id, |node| node.presence = *presence),
            Change::Tombstone(row) => drop(self.tombstones.insert(row.node_key, row.clone())),
            Change::TombstoneGone(key) => drop(self.tombstones.remove(key)),
            Change::AuthKey(row) => {
                self.count(Sequence::AuthKeys, row.id.get());
                self.auth_keys.insert(row.id, row.clone());
            }
            Change::AuthKeyGone(id) => drop(self.auth_keys.remove(id)),
            Change::ApiKey(row) => {
                self.count(Sequence::ApiKeys, row.id.get());
                self.api_keys.insert(row.id, row.clone());
            }
            Change::ApiKeyGone(id) => drop(self.api_keys.remove(id)),
            Change::NextId(sequence, next) => self.count(*sequence, next.saturating_sub(1)),
            Change::Policy(row) if row.kept => self.policy = Some(row.clone()),
            Change::Policy(_)
            | Change::Ticket(_)
            | Change::TicketGone(_)
            | Change::SshCheck(_)
            | Change::SshCheckGone(_)
            | Change::Settings(_) => {}
        }
    }

    fn edit(&mut self, id: NodeId, edit: impl FnOnce(&mut Node)) {
        if let Some(row) = self.nodes.get_mut(&id) {
            edit(Arc::make_mut(row));
        }
    }

    fn count(&mut self, sequence: Sequence, used: u64) {
        let next = self.next_ids.entry(sequence).or_insert(1);
        *next = (*next).max(used + 1);
    }
}
