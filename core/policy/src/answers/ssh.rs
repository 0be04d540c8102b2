//! Tailscale SSH: who may log in where, to which account, and whether a check comes first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headsail_wire::ids::{NodeId, UserId};
use headsail_wire::ssh::{SshAction, SshPolicy, SshPrincipal, SshRule};

use crate::answers::verdict::Party;
use crate::engine::fingerprint::Fingerprint;
use crate::engine::program::SshSection;
use crate::engine::{Engine, NodeRow};
use crate::text::document::{SshUser, SshVerb};

impl Engine {
    /// The SSH policy of a node; `None` if nobody may log in.
    pub fn ssh(&self, node: NodeId) -> Option<Arc<SshPolicy>> {
        let row = self.nodes.get(&node)?;
        let mut rules = Vec::new();
        for section in &self.program.ssh {
            self.ssh_rules(row, section, &mut rules);
        }
        (!rules.is_empty()).then(|| Arc::new(SshPolicy { rules }))
    }

    fn ssh_rules(&self, row: &NodeRow, section: &SshSection, out: &mut Vec<SshRule>) {
        let Some(rule) = self.policy.document.ssh.get(section.rule) else { return };
        let class = row.class as usize;
        let owner = row.facts.user().filter(|_| self.in_list(section.src, class));
        let named = rule.users.iter().any(|u| matches!(u, SshUser::LocalPart(_)));
        // As with the official service, a rule with `localpart` also goes to the machines of its sources, whatever its
        // destinations.
        if let Some(own) = owner.filter(|_| section.to_self || named).and_then(|o| self.owners.get(&o)) {
            self.ssh_for(&own.nodes, rule, out);
        }
        if self.in_list(section.dst, class) {
            self.ssh_for(&self.ssh_sources(section), rule, out);
        }
    }

    /// The sources of a rule, as the official service names them: nodes of users once, tagged nodes once for each of
    /// their tags that matches.
    fn ssh_sources(&self, section: &SshSection) -> Vec<NodeId> {
        let Some(list) = self.list(section.src) else { return Vec::new() };
        let every_tag = self.program.tagged.is_some_and(|t| list.identities.contains(&t));
        let meant = |t: &&String| {
            every_tag || self.program.by_tag.get(*t).is_some_and(|s| list.identities.contains(s))
        };
        let times = |n: &NodeId| {
            self.node(*n).filter(|f| f.user().is_none()).map_or(1, |f| f.tags().iter().filter(meant).count())
        };
        self.named_nodes(section.src).into_iter().flat_map(|n| std::iter::repeat_n(n, times(&n))).collect()
    }

    /// Adds one rule for all sources; with `localpart`, rules for each user in turn.
    fn ssh_for(&self, nodes: &[NodeId], rule: &crate::text::document::SshRule, out: &mut Vec<SshRule>) {
        let accounts = accounts(&rule.users);
        let mut push = |nodes: &[NodeId], users: BTreeMap<String, String>| {
            let rows = nodes.iter().filter_map(|n| self.nodes.get(n));
            let address =
                |a: std::net::IpAddr| SshPrincipal { node_ip: a.to_string(), ..SshPrincipal::default() };
            let principals: Vec<_> = rows.flat_map(|r| r.facts.addresses()).map(address).collect();
            if !principals.is_empty() {
                out.push(SshRule {
                    rule_expires: None,
                    principals,
                    ssh_users: users,
                    action: Some(action(rule.verb)),
                    accept_env: rule.accept_env.clone(),
                });
            }
        };
        if !rule.users.iter().any(|u| matches!(u, SshUser::LocalPart(_))) {
            return push(nodes, accounts);
        }
        let mut by_user: BTreeMap<UserId, BTreeSet<NodeId>> = BTreeMap::new();
        let mut tagged = Vec::new();
        for n in nodes {
            match self.node(*n).and_then(|f| f.user()) {
                Some(u) => {
                    by_user.entry(u).or_default().insert(*n);
                }
                None => tagged.push(*n),
            }
        }
        for (user, nodes) in by_user {
            let nodes: Vec<NodeId> = nodes.into_iter().collect();
            push(&nodes, accounts.clone());
            let email = self.users.get(&user).map(|u| u.facts.email.clone()).unwrap_or_default();
            if let Some(local) = local_part(&rule.users, &email) {
                push(&nodes, BTreeMap::from([(local.to_string(), local.to_string())]));
            }
        }
        push(&tagged, accounts);
    }

    /// The first SSH rule that matches a login: what it does, and its index in the document.
    pub(crate) fn ssh_verdict(&self, src: &Party, dst: &Party, account: &str) -> Option<(SshVerb, usize)> {
        for section in &self.program.ssh {
            let Some(rule) = self.policy.document.ssh.get(section.rule) else { continue };
            let Some(list) = self.list(section.src).filter(|l| src.is_in(l)) else { continue };
            let named = rule.users.iter().any(|u| matches!(u, SshUser::LocalPart(_)));
            let own = (section.to_self || named) && src.owner.is_some() && src.owner == dst.owner;
            let there = self.list(section.dst).is_some_and(|l| dst.is_in(l));
            if !(own || there) || list.identities.is_empty() {
                continue;
            }
            let email =
                src.owner.and_then(|o| self.users.get(&o)).map(|u| u.facts.email.clone()).unwrap_or_default();
            let plain = accounts(&rule.users);
            let by_name = match plain.get(account) {
                Some(mapped) => !mapped.is_empty(),
                None => plain.contains_key("*"),
            };
            if by_name || local_part(&rule.users, &email) == Some(account) {
                return Some((rule.verb, section.rule));
            }
        }
        None
    }

    /// How many seconds a check of this login stays valid (0: every login is checked). `None` if the login is refused
    /// or needs no check.
    pub fn ssh_check_secs(&self, src: NodeId, dst: NodeId, account: &str) -> Option<i64> {
        match self.ssh_verdict(&self.party(src)?, &self.party(dst)?, account)? {
            (SshVerb::Check(nanos), _) => Some(nanos.saturating_add(999_999_999) / 1_000_000_000),
            (SshVerb::Accept, _) => None,
        }
    }

    /// Differs if the SSH policy differs; empty for none.
    pub(crate) fn ssh_fingerprint(&self, node: NodeId) -> Fingerprint {
        let Some(policy) = self.ssh(node) else { return Fingerprint::EMPTY };
        Fingerprint::of_text(&serde_json::to_string(&*policy).unwrap_or_default())
    }
}

/// The part before `@` of an address, if a `localpart` names its domain. An empty domain matches nothing.
fn local_part<'e>(users: &[SshUser], email: &'e str) -> Option<&'e str> {
    let (local, domain) = email.rsplit_once('@').filter(|(_, domain)| !domain.is_empty())?;
    users
        .iter()
        .any(|u| matches!(u, SshUser::LocalPart(d) if d.to_lowercase() == domain.to_lowercase()))
        .then_some(local)
}

/// Maps requested accounts to local accounts. Root is refused unless it is named.
fn accounts(users: &[SshUser]) -> BTreeMap<String, String> {
    let mut map = BTreeMap::from([("root".to_string(), String::new())]);
    map.extend(users.iter().filter_map(|u| match u {
        SshUser::NonRoot => Some(("*".into(), "=".into())),
        SshUser::Name(name) => Some((name.clone(), name.clone())),
        SshUser::LocalPart(_) => None,
    }));
    map
}

fn action(verb: SshVerb) -> SshAction {
    match verb {
        SshVerb::Accept => SshAction::accept(),
        SshVerb::Check(_) => {
            SshAction::ask(String::new(), "$SRC_NODE_ID/to/$DST_NODE_ID?local_user=$LOCAL_USER")
        }
    }
}
