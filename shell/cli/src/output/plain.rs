//! Text of strangers (names of hosts and users, answers of servers) on a terminal.

use headsail_wire::text::steers;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The text as one line that steers nothing.
pub fn line(text: &str) -> String {
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

/// The text with its own line breaks, and nothing else that steers.
pub fn lines(text: &str) -> String {
    text.chars().map(|c| if c != '\n' && steers(c) { '\u{fffd}' } else { c }).collect()
}

/// The text as one line of at most so many columns; where there was more, it ends in `…`.
pub fn cut(text: &str, columns: usize) -> String {
    // Characters without a width could still pile up without end.
    let few = columns.saturating_mul(4);
    if text.chars().nth(few).is_none() && line(text).width() <= columns {
        return line(text);
    }
    let mut left = columns.saturating_sub(1);
    let fits = |c: &char| {
        let width = if steers(*c) { 1 } else { c.width().unwrap_or(1) };
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    };
    let kept: String = text.chars().take(few).take_while(fits).collect();
    format!("{}…", line(&kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers() {
        assert_eq!(
            line("a\nb\r\t\u{1b}[2J\u{7f}\u{9b}c"),
            "a\u{fffd}b\u{fffd}\u{fffd}\u{fffd}[2J\u{fffd}\u{fffd}c"
        );
        for c in ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}').chain(['\u{2028}', '\u{200f}']) {
            assert_eq!(line(&format!("a{c}b")), "a\u{fffd}b", "{}", c.escape_unicode());
        }
        assert_eq!(lines("a\nb\u{1b}"), "a\nb\u{fffd}");
        assert_eq!(line("日本 é"), "日本 é");
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("日本日本", 6), "日本…");
        assert_eq!(cut("a\nb", 6), "a\u{fffd}b");
        let piled = cut(&"e\u{301}".repeat(1000), 6);
        assert_eq!(piled.width(), 6, "{piled}");
        let weightless = cut(&"\u{301}".repeat(100_000), 6);
        assert!(weightless.chars().count() <= 25 && weightless.ends_with('…'));
        assert_eq!(cut(&"x".repeat(100_000), 64).width(), 64);
    }
}
