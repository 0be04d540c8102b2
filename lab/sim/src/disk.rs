//! A store, as plainly as it can be written: rows by number, and the commits that led to them. Commits of volatile facts
//! alone are written along without a flush.

use std::collections::BTreeMap;
use std::sync::Arc;

use headsail_tailnet::change::{Change, Durability, Sequence};
use headsail_tailnet::commit::{Commit, Loaded, Revision, Since};
use headsail_tailnet::model::key::{ApiKey, AuthKey};
use headsail_tailnet::model::node::{Node, Tombstone};
use headsail_tailnet::model::policy::PolicyRow;
use headsail_tailnet::model::user::User;
use headsail_wire::ids::{ApiKeyId, AuthKeyId, NodeId, UserId};
use headsail_wire::keys::NodeKey;

/// Why the disk refused.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no room.
    Full,
    /// Another writer committed first.
    Conflict,
}

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
    /// Every commit that is flushed.
    log: Vec<Commit>,
    unflushed: Vec<Commit>,
    /// Commits up to this one were dropped from the log.
    log_floor: Revision,
}

impl Disk {
    /// The revision of the last commit.
    pub fn revision(&self) -> Revision {
        self.unflushed.last().or(self.log.last()).map_or(Revision::default(), |commit| commit.revision)
    }

    /// The commits that are not flushed yet.
    pub fn unflushed(&self) -> &[Commit] {
        &self.unflushed
    }

    /// Writes a commit, all or nothing, with whatever was written along before. A commit of volatile facts alone is written
    /// along: it is lost if the machine dies before the next flush. One that lives in memory only does not reach the disk.
    ///
    /// # Errors
    /// Nothing was written.
    pub fn commit(&mut self, commit: &Commit) -> Result<(), Refused> {
        if !commit.is_written() {
            return Ok(());
        }
        let has = |durability| commit.changes().any(|change| change.durability() == durability);
        if self.broken {
            self.missed |= has(Durability::Volatile);
            return Err(Refused::Full);
        }
        if commit.revision != self.revision().next() {
            return Err(Refused::Conflict);
        }
        self.unflushed.push(written(commit));
        if has(Durability::Durable) {
            self.flush();
        }
        Ok(())
    }

    /// Makes everything that was written last, if it can.
    pub fn flush(&mut self) {
        if self.broken {
            return;
        }
        for commit in std::mem::take(&mut self.unflushed) {
            commit.changes().for_each(|change| self.write(change));
            self.log.push(commit);
        }
    }

    /// The process has ended: what was not flushed is lost.
    pub fn lose_unflushed(&mut self) {
        self.unflushed.clear();
        self.missed = false;
    }

    /// The log has grown too old: writers that are behind get rows from now on.
    pub fn forget_log(&mut self) {
        self.log_floor = self.revision();
    }

    /// What was committed after a revision.
    pub fn since(&self, revision: Revision) -> Since {
        if revision < self.log_floor {
            return Since::Rows(self.load());
        }
        let all = self.log.iter().chain(&self.unflushed);
        Since::Commits(all.filter(|commit| commit.revision > revision).cloned().collect())
    }

    /// Every row, those that are not flushed included.
    pub fn load(&self) -> Loaded {
        let mut disk = Disk { log: self.log.last().cloned().into_iter().collect(), ..self.rows() };
        disk.unflushed = self.unflushed.clone();
        disk.flush();
        Loaded { revision: self.revision(), changes: disk.changes() }
    }

    fn rows(&self) -> Disk {
        Disk {
            users: self.users.clone(),
            auth_keys: self.auth_keys.clone(),
            api_keys: self.api_keys.clone(),
            nodes: self.nodes.clone(),
            tombstones: self.tombstones.clone(),
            policy: self.policy.clone(),
            next_ids: self.next_ids.clone(),
            ..Disk::default()
        }
    }

    fn changes(&self) -> Vec<Change> {
        let users = self.users.values().cloned().map(Change::User);
        let auth_keys = self.auth_keys.values().cloned().map(Change::AuthKey);
        let api_keys = self.api_keys.values().cloned().map(Change::ApiKey);
        let nodes = self.nodes.values().cloned().map(Change::Node);
        let tombstones = self.tombstones.values().cloned().map(Change::Tombstone);
        let policy = self.policy.iter().cloned().map(Change::Policy);
        let next_ids = self.next_ids.iter().map(|(sequence, next)| Change::NextId(*sequence, *next));
        let keys = auth_keys.chain(api_keys);
        users.chain(keys).chain(nodes).chain(tombstones).chain(policy).chain(next_ids).collect()
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
                for (sequence, number) in row.ips().map(Sequence::of_address) {
                    self.count(sequence, number);
                }
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

/// A commit without the changes that no disk keeps.
fn written(commit: &Commit) -> Commit {
    let mut written = commit.clone();
    for (_, changes) in &mut written.entries {
        changes.retain(|change| change.durability() != Durability::Memory);
    }
    written.entries.retain(|(_, changes)| !changes.is_empty());
    written
}
