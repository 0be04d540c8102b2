//! The tests that a policy contains: what must be allowed, and what must not.

use std::fmt;

use serde::Serialize;

use crate::answers::verdict::Party;
use crate::engine::Engine;
use crate::text::diag::Span;
use crate::text::document::{SshTest, SshVerb, Test};
use crate::text::ports::parse_protocol;
use crate::text::quote::shown;
use crate::text::selector::{Auto, Selector};

/// A failed expectation of a policy test.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TestFailure {
    /// Line of the expectation, from 1; 0 for the entry that counts failures not listed.
    pub line: usize,
    /// Column in characters, from 1; 0 when there is no line.
    pub column: usize,
    /// Number of characters on its line.
    pub length: usize,
    /// The source of the test.
    pub src: String,
    /// The destination or account of the expectation; empty if the test as a whole can't be run.
    pub what: String,
    /// What was expected, and what is the case.
    pub message: String,
}

impl fmt::Display for TestFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}, column {}: ", self.line, self.column)?;
        }
        let parts = [self.src.as_str(), &self.what, &self.message];
        f.write_str(&parts.into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join(": "))
    }
}

/// Further failures are counted but not kept.
const MAX_FAILURES: usize = 200;

/// Collects failures. Bounded, so that many tests can't make the answer grow without limit.
struct Failures<'e> {
    engine: &'e Engine,
    list: Vec<TestFailure>,
    dropped: usize,
}

impl Failures<'_> {
    fn add(&mut self, span: Span, src: &str, what: &str, message: String) {
        if self.list.len() >= MAX_FAILURES {
            self.dropped += 1;
            return;
        }
        let (line, column, length) = self.engine.policy.place(span);
        let (src, what) = (shown(src).into_owned(), shown(what).into_owned());
        self.list.push(TestFailure { line, column, length, src, what, message });
    }

    fn finish(mut self) -> Vec<TestFailure> {
        if self.dropped > 0 {
            let message = format!("and {} more", self.dropped);
            self.list.push(TestFailure { message, ..TestFailure::default() });
        }
        self.list
    }
}

/// Whether the sources of a test reach a destination.
#[derive(Default)]
struct Reached {
    /// Why some source doesn't reach some of what the destination stands for.
    missing: Option<String>,
    /// Whether any source reaches any of it.
    any: bool,
}

impl Engine {
    /// Runs `tests` and `sshTests` of the policy; empty when all pass.
    pub fn run_tests(&self) -> Vec<TestFailure> {
        let doc = &self.policy.document;
        let mut failures = Failures { engine: self, list: Vec::new(), dropped: 0 };
        for t in &doc.tests {
            self.run_test(t, &mut failures);
        }
        for t in &doc.ssh_tests {
            self.run_ssh_test(t, &mut failures);
        }
        failures.finish()
    }

    fn run_test(&self, test: &Test, failures: &mut Failures<'_>) {
        let mut fail = |span, what: &str, message: String| failures.add(span, &test.src, what, message);
        if test.accept.is_empty() && test.deny.is_empty() {
            return fail(test.span, "", "the test has neither `accept` nor `deny`".into());
        }
        let protocol = match parse_protocol(&test.proto) {
            Ok(p) => p,
            Err(e) => return fail(test.span, "", e),
        };
        let sources = self.parties(&test.src);
        let empty = self.why_empty(&test.src).filter(|_| sources.is_empty());
        if sources.is_empty() && empty.is_none() {
            return fail(test.span, "", format!("source `{}` is not known", shown(&test.src)));
        }
        let all = test.accept.iter().map(|d| (d, true)).chain(test.deny.iter().map(|d| (d, false)));
        for (dst, expected) in all {
            let (from, to) = (shown(&test.src), shown(&dst.value));
            match self.reaches(&sources, &dst.value, protocol) {
                Err(e) => fail(dst.span, &dst.value, e),
                Ok(Reached { missing, .. }) if expected && (empty.is_some() || missing.is_some()) => {
                    let why = empty.clone().or(missing).unwrap_or_default();
                    fail(dst.span, &dst.value, format!("`{from}` must reach `{to}`, but {why}"));
                }
                Ok(Reached { any: true, .. }) if !expected => {
                    let message = format!("`{from}` must not reach `{to}`, but a rule allows it");
                    fail(dst.span, &dst.value, message);
                }
                Ok(_) => {}
            }
        }
    }

    /// Whether the sources reach what a destination with a port stands for.
    fn reaches(&self, sources: &[Party], dst: &str, protocol: Option<u8>) -> Result<Reached, String> {
        let (name, port) = crate::text::ports::split_port(dst);
        let port: u16 = port.parse().map_err(|_| format!("`{}` must end in one port", shown(dst)))?;
        let selector = Selector::parse(name);
        if name.contains('/') && matches!(selector, Selector::Net(_)) {
            return Err(format!("`{}` is a prefix; name one address or a host", shown(name)));
        }
        let unknown = || format!("destination `{}` is not known", shown(name));
        let to_self = selector == Selector::Auto(Auto::SelfOwned);
        let fixed = if to_self { Vec::new() } else { self.parties(name) };
        if fixed.is_empty() && !to_self {
            let missing = Some(self.why_empty(name).ok_or_else(unknown)?);
            return Ok(Reached { missing, any: false });
        }
        let mut reached = Reached::default();
        for src in sources {
            let own = || src.owner.map(|o| self.people(vec![o])).unwrap_or_default();
            let targets = if to_self { own() } else { fixed.clone() };
            if targets.is_empty() {
                return Err(unknown());
            }
            for dst in &targets {
                match self.allows(src, dst, protocol, port) {
                    Some(_) => reached.any = true,
                    None => reached.missing = Some("no rule allows it".into()),
                }
            }
        }
        Ok(reached)
    }

    fn run_ssh_test(&self, test: &SshTest, failures: &mut Failures<'_>) {
        let mut fail = |span, what: &str, message: String| failures.add(span, &test.src, what, message);
        if test.accept.is_empty() && test.check.is_empty() && test.deny.is_empty() {
            return fail(test.span, "", "the SSH test has none of `accept`, `check` and `deny`".into());
        }
        if test.dst.is_empty() {
            return fail(test.span, "", "the SSH test has no `dst`, so it tests nothing".into());
        }
        let sources = self.parties(&test.src);
        let empty = self.why_empty(&test.src).filter(|_| sources.is_empty());
        if sources.is_empty() && empty.is_none() {
            return fail(test.span, "", format!("source `{}` is not known", shown(&test.src)));
        }
        for d in &test.dst {
            let targets = self.ssh_targets(d.value.trim());
            if targets.is_empty() {
                fail(d.span, &d.value, format!("destination `{}` is not a node", shown(&d.value)));
                continue;
            }
            let pairs: Vec<(&Party, &Party)> =
                sources.iter().flat_map(|s| targets.iter().map(move |t| (s, t))).collect();
            let groups = [("accept", &test.accept), ("check", &test.check), ("deny", &test.deny)];
            for (verb, account) in
                groups.iter().flat_map(|(v, accounts)| accounts.iter().map(move |a| (*v, a)))
            {
                let good = |found: Option<SshVerb>| match verb {
                    "accept" => matches!(found, Some(SshVerb::Accept)),
                    "check" => matches!(found, Some(SshVerb::Check(_))),
                    _ => found.is_none(),
                };
                let verdict = |(s, t): &(&Party, &Party)| self.ssh_verdict(s, t, account).map(|(v, _)| v);
                let (account_shown, at) = (shown(account), shown(&d.value));
                let expected = format!("expected `{verb}` for account `{account_shown}` at `{at}`");
                if let (Some(nobody), false) = (&empty, verb == "deny") {
                    fail(d.span, &d.value, format!("{expected}, but {nobody}"));
                } else if let Some(found) = pairs.iter().map(verdict).find(|v| !good(*v)) {
                    let is = match found {
                        None => "is refused",
                        Some(SshVerb::Accept) => "is accepted",
                        Some(SshVerb::Check(_)) => "is accepted after a check",
                    };
                    fail(d.span, &d.value, format!("{expected}, but it {is}"));
                }
            }
        }
    }

    /// The nodes that an SSH test names by tag, user, host or IPv4 address.
    fn ssh_targets(&self, name: &str) -> Vec<Party> {
        if matches!(Selector::parse(name), Selector::Net(n) if n.single().is_some_and(|a| a.is_ipv6())) {
            return Vec::new();
        }
        self.parties(name).into_iter().filter(|p| p.node.is_some() || !p.signature.sels.is_empty()).collect()
    }
}
