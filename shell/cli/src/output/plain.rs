//! Makes untrusted text (host names, user names, responses from servers) safe to print on a terminal.

use headsail_wire::text::steers;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The text as one line, with every character that would control the terminal replaced.
pub fn line(text: &str) -> String {
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

/// Like [`line`], but keeps line breaks.
pub fn lines(text: &str) -> String {
    text.chars().map(|c| if c != '\n' && steers(c) { '\u{fffd}' } else { c }).collect()
}

/// The text as one line of at most this many columns; `…` marks where it was cut.
pub fn cut(text: &str, columns: usize) -> String {
    // Zero-width characters take no columns, so their number is limited too.
    let max_chars = columns.saturating_mul(4);
    if text.chars().nth(max_chars).is_none() && line(text).width() <= columns {
        return line(text);
    }
    let mut left = columns.saturating_sub(1);
    let fits = |c: &char| {
        let width = if steers(*c) { 1 } else { c.width().unwrap_or(1) };
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    };
    let kept: String = text.chars().take(max_chars).take_while(fits).collect();
    format!("{}…", line(&kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_replaced() {
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
    fn text_is_cut_by_width_and_by_length() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("日本日本", 6), "日本…");
        assert_eq!(cut("a\nb", 6), "a\u{fffd}b");
        let accented = cut(&"e\u{301}".repeat(1000), 6);
        assert_eq!(accented.width(), 6, "{accented}");
        let zero_width = cut(&"\u{301}".repeat(100_000), 6);
        assert!(zero_width.chars().count() <= 25 && zero_width.ends_with('…'));
        assert_eq!(cut(&"x".repeat(100_000), 64).width(), 64);
    }
}
