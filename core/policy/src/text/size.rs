//! Limits on what a valid policy may amount to. Sets of addresses count expanded, because short texts can name long
//! sets many times.

use crate::text::diag::{Findings, Span};
use crate::text::document::*;
use crate::text::ipsets::MAX_STEPS;
use crate::text::problem::Problem;
use crate::text::selector::Selector;

/// Destinations times ports, over all rules: the most that one node may have to be sent.
const MAX_PLACES: usize = 500_000;

/// Sources of rules, targets of attributes and approvers: what every node is matched against.
const MAX_NAMED: usize = 500_000;

/// Expectations in tests; each is tried against all rules.
const MAX_EXPECTATIONS: usize = 20_000;

/// Expectations times selectors in rules: the steps that the tests take. The limit is about half a second.
const MAX_TEST_STEPS: usize = 25_000_000;

/// Reports what would take too much time or memory.
pub(crate) fn check(doc: &Document, findings: &mut Findings) {
    let mut limit = |problem: Problem, found: usize, most: usize, message: &dyn Fn() -> String| {
        if found > most {
            findings.add(problem, Span::default(), message());
        }
    };
    let places = total(doc.rules.iter().map(|r| places(doc, r)));
    limit(Problem::TooManyPorts, places, MAX_PLACES, &|| {
        format!(
            "the rules open {places} combinations of destination and port; at most {MAX_PLACES} are allowed"
        )
    });
    let lists = doc.rules.iter().map(|r| &r.src);
    let lists = lists.chain(doc.ssh.iter().flat_map(|r| [&r.src, &r.dst]));
    let lists = lists.chain(doc.attrs.iter().map(|a| &a.target));
    let lists = lists.chain(doc.approvers.routes.iter().map(|(_, who)| who)).chain([&doc.approvers.exit]);
    let named = total(lists.flatten().map(|s| weight(doc, &s.value)));
    limit(Problem::TooManyNames, named, MAX_NAMED, &|| {
        format!("the policy names {named} sources and targets; at most {MAX_NAMED} are allowed")
    });
    let tests = doc.tests.iter().map(|t| t.accept.len() + t.deny.len());
    let accounts = |t: &SshTest| t.accept.len() + t.check.len() + t.deny.len();
    let expected = total(tests.chain(doc.ssh_tests.iter().map(|t| t.dst.len().saturating_mul(accounts(t)))));
    limit(Problem::TooManyExpectations, expected, MAX_EXPECTATIONS, &|| {
        format!("the tests have {expected} expectations; at most {MAX_EXPECTATIONS} are allowed")
    });
    let targets = total(doc.rules.iter().flat_map(|r| &r.dst).map(|d| weight(doc, &d.value.target)));
    let steps = total(ends(doc).map(|(s, times)| weight(doc, &s).saturating_mul(times)))
        .saturating_mul(named.saturating_add(targets));
    limit(Problem::SlowTests, steps, MAX_TEST_STEPS, &|| {
        format!("the tests would take {steps} steps; at most {MAX_TEST_STEPS} are allowed")
    });
    if doc.sets().too_large {
        let message = format!("the ipsets expand to more than {MAX_STEPS} entries");
        findings.add(Problem::LargeIpSets, Span::default(), message);
    }
}

fn total(numbers: impl Iterator<Item = usize>) -> usize {
    numbers.fold(0, usize::saturating_add)
}

/// How many entries a selector amounts to in a list.
fn weight(doc: &Document, s: &Selector) -> usize {
    match s {
        set @ Selector::IpSet(_) => doc.addresses(set).len().max(1),
        _ => 1,
    }
}

fn places(doc: &Document, r: &Rule) -> usize {
    let shared = total(r.ip.iter().map(|i| i.ports.len())).saturating_add(usize::from(!r.app.is_empty()));
    let ports = |d: &Destination| if r.kind == RuleKind::Acl { d.ports.len() } else { shared };
    total(r.dst.iter().map(|d| weight(doc, &d.value.target).saturating_mul(ports(&d.value).max(1))))
}

/// The destinations of tests, and how often each is tried.
fn ends(doc: &Document) -> impl Iterator<Item = (Selector, usize)> {
    let sources = |src: &str| weight(doc, &Selector::parse(src));
    let plain = doc.tests.iter().flat_map(move |t| {
        let all = t.accept.iter().chain(&t.deny);
        all.map(move |d| (Selector::parse(crate::text::ports::split_port(&d.value).0), sources(&t.src)))
    });
    let ssh = doc.ssh_tests.iter().flat_map(move |t| {
        let accounts = t.accept.len() + t.check.len() + t.deny.len();
        t.dst.iter().map(move |d| (Selector::parse(&d.value), sources(&t.src).saturating_mul(accounts)))
    });
    plain.chain(ssh)
}
