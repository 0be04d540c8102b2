//! Shows findings of a policy as annotated excerpts of its text.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use headsail_api::problem::{Finding, Severity};

/// How many characters of a line are shown.
const WIDTH: usize = 120;
/// How many of these come before the marked text.
const BEFORE: usize = 40;

/// Renders findings as annotated excerpts of `text`, which was read from `origin`; `None` if there are no findings.
pub fn annotate(findings: &[Finding], text: &str, origin: &str) -> Option<String> {
    // The excerpts are already cut to WIDTH, so the renderer has nothing to trim.
    let renderer = Renderer::styled().term_width(2 * WIDTH);
    let lines: Vec<&str> = text.lines().collect();
    // Errors first: they are the reason why the policy was rejected.
    let (errors, warnings): (Vec<&Finding>, Vec<&Finding>) =
        findings.iter().partition(|f| f.severity == Severity::Error);
    let shown: Vec<String> = errors
        .into_iter()
        .chain(warnings)
        .map(|finding| renderer.render(&[drawing(finding, &lines, origin)]))
        .collect();
    (!shown.is_empty()).then(|| shown.join("\n\n"))
}

fn drawing<'a>(finding: &'a Finding, lines: &[&'a str], origin: &'a str) -> Group<'a> {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(&finding.message);
    let group = match excerpt(finding, lines) {
        Some(Excerpt { text, mark, line, column }) => {
            let cut = text.starts_with('…');
            let mark = AnnotationKind::Primary.span(mark);
            let snippet = Snippet::source(text).line_start(line).annotation(mark);
            if cut {
                // The excerpt does not start at column 1, so the renderer would show the wrong column.
                title.element(Origin::path(origin).line(line).char_column(column)).element(snippet)
            } else {
                title.element(snippet.path(origin))
            }
        }
        None => Group::with_title(title),
    };
    if finding.help.is_empty() { group } else { group.element(Level::HELP.message(&finding.help)) }
}

/// The part of a line around a finding.
struct Excerpt {
    /// The text, with `…` where the line continues.
    text: String,
    /// The byte range in `text` that the finding is about.
    mark: Range<usize>,
    /// Line number, from 1.
    line: usize,
    /// Column in the whole line where the finding begins, in characters from 1.
    column: usize,
}

/// Cuts out the part of a line around a finding. A generated policy may be one very long line, so this touches only the
/// part that is shown.
fn excerpt(finding: &Finding, lines: &[&str]) -> Option<Excerpt> {
    let number = usize::try_from(finding.line?).ok()?;
    let line = *lines.get(number.checked_sub(1)?)?;
    let column = usize::try_from(finding.column.unwrap_or(1)).ok()?.max(1);
    let length = usize::try_from(finding.length.unwrap_or(1)).ok()?.max(1);
    let (before, rest) = line.split_at(bytes_of(line, column - 1));
    let kept = before.char_indices().rev().take(BEFORE).last().map_or(before.len(), |(at, _)| at);
    let (cut, before) = before.split_at(kept);
    let (after, left) = rest.split_at(bytes_of(rest, WIDTH - BEFORE));
    let mut text = String::new();
    if !cut.is_empty() {
        text.push('…');
    }
    text.push_str(before);
    let start = text.len();
    text.push_str(after);
    let mark = start..start + bytes_of(after, length);
    if !left.is_empty() {
        text.push('…');
    }
    Some(Excerpt { text, mark, line: number, column })
}

/// The length in bytes of the first `chars` characters.
fn bytes_of(text: &str, chars: usize) -> usize {
    let mut rest = text.chars();
    // `nth` skips characters faster than a loop over them.
    if let Some(last) = chars.checked_sub(1) {
        rest.nth(last);
    }
    text.len() - rest.as_str().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "{\n  \"groups\": {\"group:ä\": [\"bob\"]}\n}\n";

    fn show(finding: Finding) -> String {
        anstream::adapter::strip_str(&annotate(&[finding], POLICY, "policy.hujson").unwrap()).to_string()
    }

    #[test]
    fn the_offending_text_is_marked() {
        let shown = show(Finding {
            message: "user must contain `@`".into(),
            line: Some(2),
            column: Some(26),
            length: Some(5),
            help: "write `bob@`".into(),
            ..Finding::default()
        });
        assert!(shown.starts_with("error: user must contain `@`\n"), "{shown}");
        assert!(shown.contains("policy.hujson:2:26"), "{shown}");
        let marks: Vec<&str> = shown.lines().filter(|l| l.contains('^')).collect();
        assert_eq!(marks.len(), 1, "{shown}");
        assert_eq!(marks.first().map(|l| l.matches('^').count()), Some(5), "{shown}");
        assert!(shown.contains("help: write `bob@`"), "{shown}");
    }

    #[test]
    fn warnings_are_labelled_and_follow_errors() {
        let warning =
            Finding { severity: Severity::Warning, message: "m".into(), line: Some(1), ..Finding::default() };
        assert!(show(warning.clone()).starts_with("warning: m\n"));
        let error = Finding { message: "e".into(), ..Finding::default() };
        let both = annotate(&[warning, error], POLICY, "policy.hujson").unwrap();
        assert!(anstream::adapter::strip_str(&both).to_string().starts_with("error: e"), "errors come first");
    }

    #[test]
    fn long_lines_are_cut_around_the_finding() {
        let text = format!("{{\"a\": [{}]}}", "\"ä\", ".repeat(100_000));
        let finding = |column, length| Finding {
            message: "m".into(),
            line: Some(1),
            column: Some(column),
            length: Some(length),
            ..Finding::default()
        };
        // The finding, and whether the excerpt is cut before and after it.
        for (column, length, before, after) in
            [(3, 4, false, true), (300_008, 3, true, true), (500_008, 9, true, false)]
        {
            let shown = annotate(&[finding(column, length)], &text, "p").unwrap();
            let shown = anstream::adapter::strip_str(&shown).to_string();
            assert!(shown.contains(&format!("p:1:{column}")), "{shown}");
            let line = shown.lines().find_map(|l| l.strip_prefix("1 | ")).unwrap();
            assert!(line.chars().count() <= WIDTH + 2, "{shown}");
            assert_eq!((line.starts_with('…'), line.ends_with('…')), (before, after), "{shown}");
        }
        let shown = annotate(&[finding(300_008, 3)], &text, "p").unwrap();
        let shown = anstream::adapter::strip_str(&shown).to_string();
        let under = |mark: char| {
            shown
                .lines()
                .filter_map(|l| l.split_once("| "))
                .find_map(|(_, l)| l.chars().position(|c| c == mark))
        };
        let line = shown.lines().find_map(|l| l.strip_prefix("1 | ")).unwrap();
        let marked: String = line.chars().skip(under('^').unwrap()).take(3).collect();
        assert_eq!(marked, "\"ä\"", "{shown}");
    }

    #[test]
    fn positions_outside_the_text_do_not_panic() {
        for (line, column, length) in [(99, 1, 1), (0, 0, 0), (2, 999, 9), (3, 2, u32::MAX), (4, 1, 1)] {
            let finding = Finding {
                message: "m".into(),
                line: Some(line),
                column: Some(column),
                length: Some(length),
                ..Finding::default()
            };
            assert!(show(finding).starts_with("error: m"));
        }
    }
}
