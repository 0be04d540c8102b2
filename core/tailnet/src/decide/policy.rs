//! A new policy takes effect, and the policy approves routes automatically.

use std::sync::Arc;

use headsail_policy::{Engine, Policy, UserFacts};
use headsail_wire::time::Time;
use ipnet::IpNet;

use crate::change::Change;
use crate::command::{PolicyFindings, Rejection};
use crate::model::node::{Node, with_both_defaults};
use crate::model::policy::PolicyRow;
use crate::tailnet::Tailnet;

/// Checks a policy against a tailnet and runs its tests, like [`set`], but without any effect.
///
/// # Errors
/// All problems of the policy, or all of its tests that fail.
pub fn check(t: &Tailnet, text: &str, now: Time, kept: bool) -> Result<(PolicyRow, Engine), Rejection> {
    let faulty = |diagnostics, tests| Rejection::BadPolicy(PolicyFindings { diagnostics, tests });
    let row = PolicyRow::parse(text, &domains(t), now, kept)
        .map_err(|refusal| faulty(refusal.diagnostics, Vec::new()))?;
    let engine = t.access().engine().with_policy(row.policy.clone());
    match engine.run_tests() {
        failures if failures.is_empty() => Ok((row, engine)),
        failures => Err(faulty(Vec::new(), failures)),
    }
}

/// The domains of the tailnet: the configured ones, or those of its users' e-mail addresses. Only a new policy is checked
/// against them, because users come and go, and an accepted policy stays valid.
fn domains(t: &Tailnet) -> Vec<String> {
    if !t.settings().policy_domains.is_empty() {
        return t.settings().policy_domains.clone();
    }
    let mut domains: Vec<String> = t.access().engine().users().filter_map(UserFacts::domain).collect();
    domains.sort();
    domains.dedup();
    domains
}

/// Replaces the policy. A policy that does not compile, or whose tests fail, is rejected (invariant I7).
pub(super) fn set(t: &Tailnet, text: &str, kept: bool, now: Time) -> Result<Vec<Change>, Rejection> {
    let (row, engine) = check(t, text, now, kept)?;
    let mut changes = vec![Change::Policy(Arc::new(row))];
    changes.extend(approvals(t, &engine));
    Ok(changes)
}

/// The routes of all nodes that `engine`, which is about to take effect, approves automatically.
pub(super) fn approvals(t: &Tailnet, engine: &Engine) -> Vec<Change> {
    let mut changes = Vec::new();
    for node in t.nodes() {
        let open = unapproved(node);
        let approved: Vec<IpNet> = open.into_iter().filter(|r| engine.may_approve(node.id, r)).collect();
        if !approved.is_empty() {
            let mut next = Node::clone(node);
            approve(&mut next, approved);
            changes.push(Change::Node(Arc::new(next)));
        }
    }
    changes
}

/// Approves those routes of a node that the policy approves automatically. This never withdraws an approval.
pub(super) fn auto_approve(t: &Tailnet, node: &mut Node) {
    let open = unapproved(node);
    if holds(t) && !open.is_empty() {
        let approved = t.access().approvable(node, &open);
        approve(node, approved);
    }
}

/// Whether the tailnet has a policy.
pub(super) fn holds(t: &Tailnet) -> bool {
    t.policy().is_some_and(|row| !Policy::is_none(&row.policy))
}

fn unapproved(node: &Node) -> Vec<IpNet> {
    node.advertised_routes().iter().filter(|r| !node.approved_routes.contains(r)).copied().collect()
}

fn approve(node: &mut Node, routes: Vec<IpNet>) {
    let all = node.approved_routes.iter().copied().chain(routes).collect();
    node.approved_routes = with_both_defaults(all);
}
