//! The policy file: HuJSON text in, per-node facts out.
//!
//! [`Policy::parse`] reads and checks a text. [`Engine`] applies a policy to the users and nodes of a tailnet, follows
//! their changes, and answers every question that follows from both: who sees whom ([`Engine::sees`],
//! [`Engine::visible`]), packet filters ([`Engine::filter`]), SSH ([`Engine::ssh`]), routes ([`Engine::allowed_routes`],
//! [`Engine::may_approve`]), capabilities ([`Engine::self_caps`]), tags ([`Engine::owns_tag`]). An engine is a value:
//! cloning it is cheap, so every snapshot of the tailnet holds its own.
//!
//! ```
//! use std::sync::Arc;
//! use headsail_policy::{Engine, NodeFacts, Owner, Policy, Settings};
//! use headsail_wire::ids::NodeId;
//!
//! let text = r#"{
//!     "tagOwners": {"tag:ci": [], "tag:db": []},
//!     "acls": [{"action": "accept", "src": ["tag:ci"], "dst": ["tag:db:5432"]}],
//! }"#;
//! let policy = Policy::parse(text, &Settings::default())?;
//! let node = |id, tag: &str| {
//!     let v4 = format!("100.64.0.{id}").parse().ok();
//!     Some(NodeFacts::new(NodeId::new(id)?, Owner::Tags(vec![tag.into()]), v4, None))
//! };
//! let nodes = [node(1, "tag:ci"), node(2, "tag:db")].into_iter().flatten();
//! let engine = Engine::new(Arc::new(policy), [], nodes);
//!
//! let seen: Vec<_> = NodeId::new(1).map(|ci| engine.visible(ci).collect()).unwrap_or_default();
//! assert_eq!(seen, Vec::from_iter(NodeId::new(2)));
//! # Ok::<(), headsail_policy::Refusal>(())
//! ```
//!
//! Nodes that no rule can tell apart share a class ([`Engine::class_of`]); visibility is a bit per pair of classes, and a
//! change costs work for the classes and rules that it touches.

#![warn(missing_docs)]

mod attrs;
mod change;
mod check;
mod cow;
mod diag;
pub mod document;
mod engine;
pub mod eval;
mod evolve;
mod explain;
mod facts;
mod fields;
mod filter;
mod ipsets;
mod mix;
mod net;
mod notes;
mod ports;
mod preview;
mod print;
mod program;
mod quote;
mod reach;
mod read;
mod route_row;
pub mod routes;
mod selector;
mod signature;
mod size;
mod ssh;
mod tags;
mod text;
mod trial;
mod users;
mod verdict;
mod visible;

use std::sync::Arc;

pub use change::{Comparison, Touch};
pub use check::Settings;
pub use diag::{Diagnostic, Severity, Span, render};
pub use document::Document;
pub use engine::{ClassKey, Engine};
pub use explain::{Explanation, RuleRef};
pub use facts::{NodeFacts, Owner, Role, UserFacts};
pub use filter::{Part, SourceKey};
pub use net::{EXIT_ROUTES, Net, is_exit_route};
pub use preview::{NodePreview, PortChange, Preview};
pub use selector::{Auto, Selector};
pub use tags::check_tag;
pub use text::MAX_TEXT;
pub use trial::TestFailure;

use diag::{Findings, LineIndex};
use program::Program;

/// A policy that was read and found well-formed, or no policy at all.
#[derive(Clone, Debug)]
pub struct Policy {
    text: Arc<str>,
    lines: LineIndex,
    document: Document,
    program: Arc<Program>,
    warnings: Vec<Diagnostic>,
    none: bool,
}

/// Why a policy is refused: every problem found, warnings among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The problems, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let errors = self.diagnostics.iter().filter(|d| d.severity == Severity::Error);
        for (i, d) in errors.enumerate() {
            let end = if i == 0 { "" } else { "\n" };
            match d.line {
                0 => write!(f, "{end}{}", d.message)?,
                line => write!(f, "{end}line {line}, column {}: {}", d.column, d.message)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

impl Policy {
    /// What holds in a tailnet without a policy: everybody sees and reaches everybody.
    pub fn none() -> Policy {
        let document = Document::default();
        let program = Arc::new(Program::new(&document));
        Policy {
            text: "".into(),
            lines: LineIndex::default(),
            document,
            program,
            warnings: Vec::new(),
            none: true,
        }
    }

    /// Reads and checks a policy text.
    pub fn parse(text: &str, settings: &Settings) -> Result<Policy, Refusal> {
        let mut findings = Findings::default();
        let root = text::parse(text, &mut findings);
        let document =
            root.map(|r| read::Reader { findings: &mut findings }.document(&r)).unwrap_or_default();
        check::check(text, &document, settings, &mut findings);
        let refused = findings.has_errors();
        let warnings = findings.locate(text);
        if refused {
            return Err(Refusal { diagnostics: warnings });
        }
        let program = Arc::new(Program::new(&document));
        Ok(Policy {
            text: text.into(),
            lines: LineIndex::new(text),
            document,
            program,
            warnings,
            none: false,
        })
    }

    /// Whether it stands for having no policy.
    pub fn is_none(&self) -> bool {
        self.none
    }

    /// The text, as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the text says.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// What does not do what it seems to say.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// Line, column and length of something in the text, as diagnostics have them.
    pub(crate) fn place(&self, span: Span) -> (usize, usize, usize) {
        self.lines.place(&self.text, span)
    }

    /// The line, from 1, at which something in the text begins.
    pub(crate) fn line(&self, span: Span) -> usize {
        self.lines.line(span.start)
    }
}
