//! Warnings that depend on the users of the tailnet: the text is valid, but may not do what was meant.

use std::collections::BTreeMap;

use crate::engine::Engine;
use crate::text::diag::{Diagnostic, Findings, Span};
use crate::text::document::{At, Document};
use crate::text::problem::Problem;
use crate::text::selector::Selector;

impl Engine {
    /// Warnings about users that the policy names: users that don't exist, which are ignored while the rest takes
    /// effect, and names shared by two users, which mean both. Each name is reported where it is first used.
    pub fn notes(&self) -> Vec<Diagnostic> {
        let mut findings = Findings::default();
        for (token, span) in people(&self.policy.document) {
            let found = self.users_named(token);
            if found.is_empty() {
                findings.add(Problem::UnknownUser, span, format!("no user is named `{token}`"));
            } else if found.len() > 1 {
                let ids: Vec<String> = found.iter().map(|id| id.to_string()).collect();
                let message = format!("`{token}` names {} users (ids {})", found.len(), ids.join(", "));
                findings.add(Problem::AmbiguousUser, span, message);
            }
        }
        findings.locate(self.policy.text())
    }
}

/// Every user name in a document, with the place where it is first used.
fn people(doc: &Document) -> BTreeMap<&str, Span> {
    let named = doc.groups.iter().chain(&doc.tag_owners).flat_map(|n| &n.value);
    let rules = doc.rules.iter().flat_map(|r| {
        let dst = r.dst.iter().map(|d| (&d.value.target, d.span));
        r.src.iter().map(place).chain(dst).collect::<Vec<_>>()
    });
    let ssh = doc.ssh.iter().flat_map(|r| r.src.iter().chain(&r.dst));
    let attrs = doc.attrs.iter().flat_map(|a| &a.target);
    let approvers = doc.approvers.routes.iter().flat_map(|(_, who)| who).chain(&doc.approvers.exit);
    let mut first: BTreeMap<&str, Span> = BTreeMap::new();
    let all = named.chain(ssh).chain(attrs).chain(approvers).map(place).chain(rules);
    for (selector, span) in all {
        let token = match selector {
            Selector::User(token) => token,
            Selector::Host(name) if doc.host(name).is_none() => name,
            _ => continue,
        };
        let known = first.entry(token).or_insert(span);
        *known = (*known).min(span);
    }
    first
}

fn place(s: &At<Selector>) -> (&Selector, Span) {
    (&s.value, s.span)
}
