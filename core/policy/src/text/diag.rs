//! Diagnostics: what is wrong with a policy text, where, and how to fix it.

use serde::Serialize;

use crate::text::problem::Problem;

/// A range of the policy text, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The policy is refused.
    Error,
    /// The policy takes effect, but something in it does not do what it seems to say.
    Warning,
}

/// A finding about a policy text. Serializes to the fields that the API shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// A short stable name of the kind of finding, such as `unknown-tag`.
    pub code: &'static str,
    /// Line in the text, from 1; 0 if the finding has no place.
    pub line: usize,
    /// Column in characters, from 1; 0 if the finding has no place.
    pub column: usize,
    /// Number of characters that the finding covers on its line.
    pub length: usize,
    /// What is wrong, in the words of the official service where it has any.
    pub message: String,
    /// What is allowed, or what to do next.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub help: String,
}

/// A finding before lines and columns are known.
#[derive(Clone, Debug)]
struct Finding {
    problem: Problem,
    span: Option<Span>,
    message: String,
    help: String,
}

/// Collects findings while a text is read and checked. Bounded, so that a hostile text can't make the answer grow
/// without limit.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: Vec<Finding>,
    dropped: usize,
}

/// Further findings are counted but not kept.
const MAX_FINDINGS: usize = 200;

impl Findings {
    /// Adds a finding with the standing help for its problem.
    pub fn add(&mut self, problem: Problem, span: Span, message: impl Into<String>) {
        self.add_with_help(problem, span, message, problem.help());
    }

    /// Adds a finding with help of its own.
    pub fn add_with_help(
        &mut self,
        problem: Problem,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        if self.list.len() >= MAX_FINDINGS {
            self.dropped += 1;
            if problem.severity() == Severity::Error && !self.has_errors() {
                self.list.pop();
            } else {
                return;
            }
        }
        self.list.push(Finding { problem, span: Some(span), message: message.into(), help: help.into() });
    }

    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|f| f.problem.severity() == Severity::Error)
    }

    /// Gives every finding its line and column, and sorts by place.
    pub fn locate(mut self, text: &str) -> Vec<Diagnostic> {
        if self.dropped > 0 {
            let message = format!("{} more findings are not listed", self.dropped);
            let problem = Problem::TooManyFindings;
            self.list.push(Finding { problem, span: None, message, help: problem.help().into() });
        }
        let lines = LineIndex::new(text);
        let mut located: Vec<(Span, Diagnostic)> = self
            .list
            .into_iter()
            .map(|f| {
                let (line, column, length) = f.span.map_or((0, 0, 0), |s| lines.place(text, s));
                let sort = f.span.unwrap_or(Span { start: usize::MAX, end: usize::MAX });
                let (severity, code) = (f.problem.severity(), f.problem.code());
                let Finding { message, help, .. } = f;
                (sort, Diagnostic { severity, code, line, column, length, message, help })
            })
            .collect();
        located.sort_by_key(|(span, d)| (*span, d.severity));
        located.into_iter().map(|(_, d)| d).collect()
    }
}

/// Where the lines of a text begin.
#[derive(Clone, Debug, Default)]
pub(crate) struct LineIndex {
    starts: Vec<usize>,
}

impl LineIndex {
    pub fn new(text: &str) -> LineIndex {
        let rest = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1);
        LineIndex { starts: std::iter::once(0).chain(rest).collect() }
    }

    /// Line, from 1, of a byte position.
    pub fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|s| *s <= at)
    }

    /// Line and column, from 1, and length in characters on that line.
    pub fn place(&self, text: &str, span: Span) -> (usize, usize, usize) {
        let line = self.line(span.start);
        let from = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let line_end = self.starts.get(line).map_or(text.len(), |s| s.saturating_sub(1));
        let end = span.end.min(line_end).max(span.start);
        let chars = |a: usize, b: usize| text.get(a..b).map_or(0, |t| t.chars().count());
        (line, chars(from, span.start) + 1, chars(span.start, end).max(1))
    }
}

/// Renders findings with the lines they are about, for a terminal. `name` is the name of the text, such as its path.
pub fn render(name: &str, text: &str, findings: &[Diagnostic]) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut out = String::new();
    for d in findings {
        let kind = match d.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        out.push_str(&format!("{kind}[{}]: {}\n", d.code, d.message));
        let shown = lines.get(d.line.wrapping_sub(1)).map(|l| window(l, d.column, d.length));
        if let Some((excerpt, column)) = shown {
            let number = d.line.to_string();
            let pad = " ".repeat(number.len());
            let marks = "^".repeat(d.length.min(excerpt.chars().count().saturating_sub(column)).max(1));
            out.push_str(&format!("{pad}--> {name}:{}:{}\n{pad} |\n", d.line, d.column));
            out.push_str(&format!("{number} | {excerpt}\n{pad} | {}{marks}\n", " ".repeat(column)));
            if !d.help.is_empty() {
                out.push_str(&format!("{pad} = help: {}\n", d.help));
            }
        } else if !d.help.is_empty() {
            out.push_str(&format!(" = help: {}\n", d.help));
        }
    }
    out
}

/// The part of a long line around a finding, and the finding's offset in it.
fn window(line: &str, column: usize, length: usize) -> (String, usize) {
    const WIDTH: usize = 120;
    let at = column.saturating_sub(1);
    let tabless = |c: char| if c == '\t' { ' ' } else { c };
    if line.chars().count() <= WIDTH {
        return (line.chars().map(tabless).collect(), at);
    }
    let from = at.saturating_sub(WIDTH.saturating_sub(length.min(WIDTH)) / 2);
    (line.chars().skip(from).take(WIDTH).map(tabless).collect(), at - from)
}
