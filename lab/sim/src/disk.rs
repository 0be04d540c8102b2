//! A store, as plainly as it can be written: rows by number, and the commits that led to them. What is not synced survives
//! the process, but a power cut loses it, or leaves a part of it.

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

/// Why the disk refused a commit.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    Full,
    /// Another writer committed first.
    Conflict,
}

/// What a power cut has left of a commit that was not synced.
pub struct Written {
    /// The commit, or the beginning of one.
    pub commit: Commit,
    /// Whether all of it is there: a write-ahead log knows by its checksums.
    pub is_whole: bool,
}

/// What is whole, up to the first commit that isn't.
pub fn recover(written: Vec<Written>) -> Vec<Commit> {
    written.into_iter().take_while(|written| written.is_whole).map(|written| written.commit).collect()
}

/// What survives the process. It shares no code with the tailnet's own tables: it is the reference for them.
#[derive(Default)]
pub struct Disk {
    /// Whether every write fails.
    pub broken: bool,
    /// Whether it has refused volatile changes since the process started.
    pub missed: bool,
    users: BTreeMap<UserId, Arc<User>>,
    auth_keys: BTreeMap<AuthKeyId, Arc<AuthKey>>,
    api_keys: BTreeMap<ApiKeyId, Arc<ApiKey>>,
    nodes: BTreeMap<NodeId, Arc<Node>>,
    tombstones: BTreeMap<NodeKey, Arc<Tombstone>>,
    policy: Option<Arc<PolicyRow>>,
    next_ids: BTreeMap<Sequence, u64>,
    /// Every commit that is synced.
    log: Vec<Commit>,
    /// What was written since: the operating system has it, the disk itself may not.
    unsynced: Vec<Commit>,
    /// Commits up to this one were dropped from the log.
    log_floor: Revision,
}

impl Disk {
    /// The revision of the last commit.
    pub fn revision(&self) -> Revision {
        self.unsynced.last().or(self.log.last()).map_or(Revision::default(), |commit| commit.revision)
    }

    /// Writes a commit, all or nothing, and syncs it if it is to be, with whatever was written before. One that lives in
    /// memory only does not reach the disk.
    ///
    /// # Errors
    /// Nothing was written.
    pub fn commit(&mut self, commit: &Commit, is_synced: bool) -> Result<(), Refused> {
        if !commit.is_written() {
            return Ok(());
        }
        if self.broken {
            // Expiry takes effect all the same; whoever refuses a node may have missed one.
            let misses = |change: &Change| {
                change.durability() == Durability::Volatile || matches!(change, Change::Node(_))
            };
            self.missed |= commit.changes().any(misses);
            return Err(Refused::Full);
        }
        if commit.revision != self.revision().next() {
            return Err(Refused::Conflict);
        }
        self.unsynced.push(written(commit));
        if is_synced {
            self.sync();
        }
        Ok(())
    }

    /// Makes everything that was written survive a power cut.
    pub fn sync(&mut self) {
        for commit in std::mem::take(&mut self.unsynced) {
            commit.changes().for_each(|change| self.write(change));
            self.log.push(commit);
        }
    }

    /// The power goes. Of what is not synced, the first `kept` commits have reached the disk all the same, and a part of
    /// the next one if that is `torn`. What `recover` makes of these is there afterwards.
    pub fn power_cut(&mut self, kept: usize, torn: bool, recover: fn(Vec<Written>) -> Vec<Commit>) {
        let unsynced = std::mem::take(&mut self.unsynced);
        let written = unsynced.into_iter().take(kept.saturating_add(usize::from(torn))).enumerate();
        let written = written.map(|(at, commit)| match at < kept {
            true => Written { commit, is_whole: true },
            false => Written { commit: without_its_end(commit), is_whole: false },
        });
        self.unsynced = recover(written.collect());
        self.sync();
        // The log may end earlier now, and has no gap there.
        self.log_floor = self.log_floor.min(self.revision());
    }

    /// Deletes the log, as if all of it were too old: writers that are behind get rows.
    pub fn forget_log(&mut self) {
        self.log_floor = self.revision();
    }

    /// What was committed after a revision.
    pub fn since(&self, revision: Revision) -> Since {
        if revision < self.log_floor {
            return Since::Rows(self.load());
        }
        let all = self.log.iter().chain(&self.unsynced);
        Since::Commits(all.filter(|commit| commit.revision > revision).cloned().collect())
    }

    /// Every row, those that are not synced included.
    pub fn load(&self) -> Loaded {
        let mut disk = Disk { log: self.log.last().cloned().into_iter().collect(), ..self.rows() };
        disk.unsynced = self.unsynced.clone();
        disk.sync();
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

/// A commit without the changes that live in memory only.
fn written(commit: &Commit) -> Commit {
    let mut written = commit.clone();
    for (_, changes) in &mut written.entries {
        changes.retain(|change| change.durability() != Durability::Memory);
    }
    written.entries.retain(|(_, changes)| !changes.is_empty());
    written
}

/// A commit whose last change did not reach the disk.
fn without_its_end(mut commit: Commit) -> Commit {
    if let Some((_, changes)) = commit.entries.last_mut() {
        changes.pop();
    }
    commit
}
