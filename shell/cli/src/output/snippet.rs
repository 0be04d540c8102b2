//! Faults of a policy, shown in its text.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use headsail_api::problem::{Fault, Severity};

/// The faults as annotated excerpts of `text`, which was read from `origin`; nothing if there are none.
pub fn annotate(faults: &[Fault], text: &str, origin: &str) -> Option<String> {
    let renderer = Renderer::styled();
    let level = |fault: &Fault| match fault.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    // Errors first: they are why the text was refused.
    let (errors, warnings): (Vec<&Fault>, Vec<&Fault>) =
        faults.iter().partition(|f| f.severity == Severity::Error);
    let shown: Vec<String> = errors
        .into_iter()
        .chain(warnings)
        .map(|fault| {
            let title = level(fault).primary_title(&fault.message);
            let group = match span(fault, text) {
                Some(span) => title.element(
                    Snippet::source(text).path(origin).annotation(AnnotationKind::Primary.span(span)),
                ),
                None => annotate_snippets::Group::with_title(title),
            };
            let group =
                if fault.help.is_empty() { group } else { group.element(Level::HELP.message(&fault.help)) };
            renderer.render(&[group])
        })
        .collect();
    (!shown.is_empty()).then(|| shown.join("\n\n"))
}

/// The bytes of `text` that a fault is about.
fn span(fault: &Fault, text: &str) -> Option<std::ops::Range<usize>> {
    let line = usize::try_from(fault.line?).ok()?.checked_sub(1)?;
    let column = usize::try_from(fault.column.unwrap_or(1)).ok()?.saturating_sub(1);
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(start..).filter(|rest| !rest.is_empty())?;
    let offset = |n: usize| rest.char_indices().nth(n).map_or(rest.len(), |(at, _)| at);
    let length = usize::try_from(fault.length.unwrap_or(1)).ok()?.max(1);
    Some(start + offset(column)..start + offset(column.saturating_add(length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "{\n  \"groups\": {\"group:ä\": [\"bob\"]}\n}\n";

    fn show(fault: Fault) -> String {
        anstream::adapter::strip_str(&annotate(&[fault], POLICY, "policy.hujson").unwrap()).to_string()
    }

    #[test]
    fn the_place_is_marked() {
        let shown = show(Fault {
            message: "user must contain `@`".into(),
            line: Some(2),
            column: Some(26),
            length: Some(5),
            help: "write `bob@`".into(),
            ..Fault::default()
        });
        assert!(shown.starts_with("error: user must contain `@`\n"), "{shown}");
        assert!(shown.contains("policy.hujson:2:26"), "{shown}");
        let marks: Vec<&str> = shown.lines().filter(|l| l.contains('^')).collect();
        assert_eq!(marks.len(), 1, "{shown}");
        assert_eq!(marks.first().map(|l| l.matches('^').count()), Some(5), "{shown}");
        assert!(shown.contains("help: write `bob@`"), "{shown}");
    }

    #[test]
    fn warnings_are_called_so() {
        let warning =
            Fault { severity: Severity::Warning, message: "m".into(), line: Some(1), ..Fault::default() };
        assert!(show(warning.clone()).starts_with("warning: m\n"));
        let error = Fault { message: "e".into(), ..Fault::default() };
        let both = annotate(&[warning, error], POLICY, "policy.hujson").unwrap();
        assert!(anstream::adapter::strip_str(&both).to_string().starts_with("error: e"), "errors come first");
    }

    #[test]
    fn places_outside_of_the_text_do_no_harm() {
        for (line, column, length) in [(99, 1, 1), (0, 0, 0), (2, 999, 9), (3, 2, u32::MAX), (4, 1, 1)] {
            let fault = Fault {
                message: "m".into(),
                line: Some(line),
                column: Some(column),
                length: Some(length),
                ..Fault::default()
            };
            assert!(show(fault).starts_with("error: m"));
        }
    }
}
