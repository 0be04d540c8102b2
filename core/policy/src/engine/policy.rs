//! A policy text that was read, checked and compiled.

use std::sync::Arc;

use crate::engine::program::Program;
use crate::text::check::{self, Settings};
use crate::text::diag::{Diagnostic, Findings, LineIndex, Severity, Span};
use crate::text::document::Document;
use crate::text::hujson;
use crate::text::read::Reader;

/// A valid policy, or no policy at all.
#[derive(Clone, Debug)]
pub struct Policy {
    text: Arc<str>,
    lines: LineIndex,
    pub(crate) document: Document,
    pub(crate) program: Arc<Program>,
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
    /// The state of a tailnet without a policy: everyone sees and reaches everyone.
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
        let root = hujson::parse(text, &mut findings);
        let document = root.map(|r| Reader { findings: &mut findings }.document(&r)).unwrap_or_default();
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

    /// The text, as given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The parsed text.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Warnings: what does not do what it seems to say.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// Line, column and length of a span, as in diagnostics.
    pub(crate) fn place(&self, span: Span) -> (usize, usize, usize) {
        self.lines.place(&self.text, span)
    }

    /// The line, from 1, on which a span begins.
    pub(crate) fn line(&self, span: Span) -> usize {
        self.lines.line(span.start)
    }
}
