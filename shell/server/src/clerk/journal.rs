//! The log lines that administrators read about the tailnet: one for each change that matters, with who caused it.
//!
//! The names in them are safe to print, because they were checked when they were set: names of nodes are DNS labels. Host names
//! that clients report, keys, and pending logins are not logged.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use headsail_tailnet::actor::Actor;
use headsail_tailnet::change::Change;
use headsail_tailnet::commit::Commit;
use headsail_tailnet::model::node::{Expiry, Node, Owner};
use headsail_tailnet::model::ssh_check::SshCheck;
use headsail_tailnet::model::ticket::TicketState;
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::ids::{NodeId, UserId};
use headsail_wire::time::Time;

/// Of the changes that a machine makes to one node within [`WINDOW_SECS`], so many lines are written; the others are
/// counted, and become one line.
const LINES_PER_WINDOW: u32 = 5;
const WINDOW_SECS: i64 = 60;

/// Writes the lines of commits, one after another.
#[derive(Default)]
pub(crate) struct Writer {
    /// When the current window began.
    since: Time,
    /// The nodes that were changed in it by machines.
    nodes: BTreeMap<NodeId, Lines>,
}

/// The lines about one node in a window.
#[derive(Default)]
struct Lines {
    written: u32,
    /// How many more there were, and the last of them.
    folded: u32,
    last: String,
}

impl Writer {
    /// Logs what a commit changed; `was` is the tailnet before it.
    pub fn log(&mut self, was: &Tailnet, commit: &Commit) {
        self.end_window(commit.at).iter().for_each(|line| tracing::info!("{line}"));
        let mut journal = Journal { was, nodes: BTreeMap::new() };
        for (actor, changes) in &commit.entries {
            for change in changes {
                if let Change::Presence(id, presence) = change {
                    tracing::debug!(by = %actor, node = id.get(), online = presence.is_online(), "presence");
                }
                for line in journal.lines(change) {
                    if let Some(line) = self.fold(actor, change, line) {
                        tracing::info!(by = %actor, "{line}");
                    }
                }
            }
        }
    }

    /// The line, if it is to be written now.
    fn fold(&mut self, actor: &Actor, change: &Change, line: String) -> Option<String> {
        let (true, Change::Node(node)) = (actor.is_routine(), change) else { return Some(line) };
        let lines = self.nodes.entry(node.id).or_default();
        if lines.written < LINES_PER_WINDOW {
            lines.written += 1;
            return Some(line);
        }
        lines.folded += 1;
        lines.last = line;
        None
    }

    /// Once the window is over, the lines for what was folded in it. A clock that was set back ends it too.
    fn end_window(&mut self, now: Time) -> Vec<String> {
        let age = now.since(self.since);
        if (0..WINDOW_SECS * 1_000_000).contains(&age) {
            return Vec::new();
        }
        self.since = now;
        let folded = std::mem::take(&mut self.nodes).into_iter().filter(|(_, lines)| lines.folded > 0);
        folded
            .map(|(id, Lines { folded, last, .. })| {
                format!("node {id} changed {folded} more times within a minute; the last time: {last}")
            })
            .collect()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end_window(Time::from_micros(i64::MAX)).iter().for_each(|line| tracing::info!("{line}"));
    }
}

/// The tailnet before a commit, and the nodes that the commit has changed so far: it may change one more than once.
struct Journal<'a> {
    was: &'a Tailnet,
    nodes: BTreeMap<NodeId, Arc<Node>>,
}

impl Journal<'_> {
    fn lines(&mut self, change: &Change) -> Vec<String> {
        match change {
            Change::Node(node) => {
                let before =
                    self.nodes.insert(node.id, node.clone()).or_else(|| self.was.node(node.id).cloned());
                match before {
                    Some(before) => self.difference(&before, node),
                    None => vec![self.arrival(node)],
                }
            }
            Change::NodeGone(id) => {
                let node = self.nodes.remove(id).or_else(|| self.was.node(*id).cloned());
                node.map(|node| format!("{} was deleted", called(&node))).into_iter().collect()
            }
            Change::User(user) => match self.was.user(user.id) {
                None => vec![format!("user `{}` ({}) was created", user.name, user.id)],
                Some(before) if before.name != user.name => {
                    vec![format!("user `{}` ({}) was renamed to `{}`", before.name, user.id, user.name)]
                }
                Some(before) if before.role != user.role => {
                    vec![format!(
                        "user `{}` ({}) now has the role `{}`",
                        user.name,
                        user.id,
                        user.role.name()
                    )]
                }
                Some(_) => vec![format!("user `{}` ({}) was updated", user.name, user.id)],
            },
            Change::UserGone(id) => vec![format!("{} was deleted", self.user(*id))],
            Change::AuthKey(key) => match self.was.auth_key(key.id) {
                None => vec![format!(
                    "pre-auth key {} of {} was created",
                    key.id,
                    self.keeper(key.user, &key.tags)
                )],
                Some(before) if before.expiration != key.expiration => {
                    vec![expiration(&format!("pre-auth key {}", key.id), key.expiration)]
                }
                Some(_) => Vec::new(),
            },
            Change::AuthKeyGone(id) => vec![format!("pre-auth key {id} was deleted")],
            Change::ApiKey(key) => match self.was.api_key(key.id) {
                None => vec![format!("API key {} was created", key.id)],
                Some(before) if before.expiration != key.expiration => {
                    vec![expiration(&format!("API key {}", key.id), key.expiration)]
                }
                Some(_) => Vec::new(),
            },
            Change::ApiKeyGone(id) => vec![format!("API key {id} was deleted")],
            Change::SshCheck(check) => self.session(check).into_iter().collect(),
            Change::Policy(_) => vec!["a new policy is in effect".to_owned()],
            Change::Contact(..)
            | Change::Presence(..)
            | Change::Tombstone(_)
            | Change::TombstoneGone(_)
            | Change::Ticket(_)
            | Change::TicketGone(_)
            | Change::SshCheckGone(_)
            | Change::Settings(_)
            | Change::NextId(..) => Vec::new(),
        }
    }

    /// The decision on an SSH check.
    fn session(&self, check: &SshCheck) -> Option<String> {
        let verdict = match check.state {
            TicketState::Waiting => return None,
            TicketState::Granted => "was approved",
            TicketState::Refused(_) => "was denied",
        };
        let name = |id: NodeId| self.was.node(id).map_or_else(|| format!("node {id}"), |n| called(n));
        let (from, to, account) = (name(check.src), name(check.dst), check.account.escape_debug());
        Some(format!("SSH from {from} to {to} as `{account}` {verdict}"))
    }

    fn arrival(&self, node: &Node) -> String {
        let kind = if node.ephemeral { ", ephemeral" } else { "" };
        let key = node.auth_key.map_or_else(String::new, |id| format!(", with pre-auth key {id}"));
        let routes = if node.approved_routes.is_empty() {
            String::new()
        } else {
            format!(", with the routes {}", listed(node.approved_routes.iter()))
        };
        let (name, owner, ips) = (called(node), self.owner(&node.owner), listed(node.ips()));
        format!("{name} of {owner} joined{key}{kind}, as {ips}{routes}")
    }

    fn difference(&self, before: &Node, node: &Node) -> Vec<String> {
        let name = called(node);
        let mut lines = Vec::new();
        if before.name != node.name {
            lines.push(format!("{} was renamed to `{}`", called(before), node.name));
        }
        if before.owner != node.owner {
            lines.push(format!("{name} now belongs to {}", self.owner(&node.owner)));
        }
        if before.node_key != node.node_key {
            lines.push(format!("{name} logged in with a new key"));
        }
        if before.expiry != node.expiry {
            lines.push(match node.expiry {
                Expiry::Passed(_) => format!("{name} expired or logged out"),
                Expiry::At(at) => format!("{name} expires at {at}"),
                Expiry::Never => format!("{name} no longer expires"),
            });
        }
        if before.approved_routes != node.approved_routes {
            let approved = node.approved_routes.difference(&before.approved_routes);
            let withdrawn = before.approved_routes.difference(&node.approved_routes);
            let (approved, withdrawn) = (listed(approved), listed(withdrawn));
            lines.push(format!("routes of {name}: approved {approved}, withdrawn {withdrawn}"));
        }
        if (before.v4, before.v6) != (node.v4, node.v6) {
            lines.push(format!("{name} now has the addresses {}", listed(node.ips())));
        }
        lines
    }

    fn owner(&self, owner: &Owner) -> String {
        match owner {
            Owner::User(id) => self.user(*id),
            Owner::Tags(tags) => listed(tags.iter()),
        }
    }

    fn keeper<'t>(&self, user: Option<UserId>, tags: impl IntoIterator<Item = &'t String>) -> String {
        user.map_or_else(|| listed(tags.into_iter()), |id| self.user(id))
    }

    fn user(&self, id: UserId) -> String {
        self.was.user(id).map_or_else(|| format!("user {id}"), |user| format!("user `{}` ({id})", user.name))
    }
}

fn expiration(key: &str, at: Option<Time>) -> String {
    at.map_or_else(|| format!("{key} no longer expires"), |at| format!("{key} is valid until {at}"))
}

fn called(node: &Node) -> String {
    format!("node `{}` ({})", node.name, node.id)
}

fn listed<T: Display>(items: impl Iterator<Item = T>) -> String {
    let texts: Vec<String> = items.map(|item| item.to_string()).collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(" ") }
}

#[cfg(test)]
mod tests {
    use headsail_tailnet::command::Command;

    use super::*;
    use crate::testing;

    fn lines(was: &Tailnet, changes: &[Change]) -> Vec<String> {
        let mut journal = Journal { was, nodes: BTreeMap::new() };
        changes.iter().flat_map(|change| journal.lines(change)).collect()
    }

    #[tokio::test]
    async fn what_happens_to_a_node_is_logged() {
        let app = testing::tailnet();
        let empty = app.clerk.snapshot();
        let alice = testing::user(&app, "alice").await;
        let with_alice = app.clerk.snapshot();
        let user = with_alice.user(alice).unwrap().clone();
        assert_eq!(lines(&empty, &[Change::User(user)]), ["user `alice` (1) was created"]);
        let (node, _) = testing::let_in(&app, 1, alice).await;
        let joined = Change::Node(node.clone());
        let told = lines(&with_alice, std::slice::from_ref(&joined));
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("node `web` (1) of user `alice` (1) joined, as 100.64.0."), "{told:?}");

        let before = app.clerk.snapshot();
        assert_eq!(lines(&before, &[joined]), Vec::<String>::new(), "nothing has changed");
        let routes = ["10.0.0.0/8", "192.168.0.0/16"].map(|route| route.parse().unwrap());
        let command = Command::ApproveRoutes { node: node.id, routes: routes.into() };
        let routed = testing::submit(&app, command).await.node(node.id).unwrap().clone();
        let command = Command::RenameNode { node: node.id, name: "www".into() };
        let renamed = testing::submit(&app, command).await.node(node.id).unwrap().clone();
        let command = Command::ExpireNode { node: node.id, at: Some(crate::system::clock::now()) };
        let expired = testing::submit(&app, command).await.node(node.id).unwrap().clone();
        let history = [routed, renamed, expired].map(Change::Node);
        let history = [history.as_slice(), &[Change::NodeGone(node.id)]].concat();
        assert_eq!(
            lines(&before, &history),
            [
                "routes of node `web` (1): approved 10.0.0.0/8 192.168.0.0/16, withdrawn none",
                "node `web` (1) was renamed to `www`",
                "node `www` (1) expired or logged out",
                "node `www` (1) was deleted",
            ]
        );
    }

    #[tokio::test]
    async fn approval_of_ssh_sessions_is_logged() {
        let app = testing::tailnet();
        let alice = testing::user(&app, "alice").await;
        let (from, _) = testing::let_in(&app, 1, alice).await;
        let (to, _) = testing::let_in(&app, 2, alice).await;
        let check = |state| SshCheck {
            id: "hskey-authreq-x".into(),
            src: from.id,
            dst: to.id,
            account: "ro\not".into(),
            state,
            until: crate::system::clock::now(),
        };
        let told =
            |state| lines(&app.clerk.snapshot(), &[Change::SshCheck(Arc::new(check(state)))]).join("; ");
        assert_eq!(told(TicketState::Waiting), "");
        let granted = told(TicketState::Granted);
        assert_eq!(granted, "SSH from node `web` (1) to node `web-1` (2) as `ro\\not` was approved");
        assert!(told(TicketState::Refused("no".into())).ends_with("was denied"));
    }

    #[tokio::test]
    async fn lines_about_a_node_that_changes_all_the_time_are_folded() {
        let app = testing::tailnet();
        let alice = testing::user(&app, "alice").await;
        let (node, _) = testing::let_in(&app, 1, alice).await;
        let (change, by) = (Change::Node(node.clone()), Actor::Node(node.id));
        let mut writer = Writer::default();
        let start = Time::from_secs(1_000_000);
        assert_eq!(writer.end_window(start), Vec::<String>::new());
        let written = (0..1000).filter_map(|n| writer.fold(&by, &change, format!("line {n}"))).count();
        assert_eq!(written, LINES_PER_WINDOW as usize);
        let person = Actor::UnixUser(0);
        assert!(writer.fold(&person, &change, "renamed".into()).is_some(), "what people do is always logged");
        assert_eq!(writer.end_window(start.plus_secs(WINDOW_SECS - 1)), Vec::<String>::new());
        assert_eq!(
            writer.end_window(start.plus_secs(WINDOW_SECS)),
            ["node 1 changed 995 more times within a minute; the last time: line 999"]
        );
        assert!(writer.fold(&by, &change, "again".into()).is_some());
    }
}
