//! Quotes text in messages as the official service does.

use std::borrow::Cow;

/// The longest text shown in messages, in bytes: enough for any real name, short enough to be repeated.
const SHOWN: usize = 512;

/// A text as shown in messages: cut if it is very long.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    match text.get(..text.floor_char_boundary(SHOWN)) {
        Some(start) if start.len() < text.len() => Cow::Owned(format!("{start}…")),
        _ => Cow::Borrowed(text),
    }
}

/// Quotes a text as Go's `%q` does: invisible characters as `\x00` or `\u200d`, everything else as it is. Very long
/// texts are cut.
pub(crate) fn go_quote(text: &str) -> String {
    let text = shown(text);
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match (c, u32::from(c)) {
            ('"' | '\\', _) => out.extend(['\\', c]),
            ('\x07', _) => out += "\\a",
            ('\x08', _) => out += "\\b",
            ('\x0c', _) => out += "\\f",
            ('\n', _) => out += "\\n",
            ('\r', _) => out += "\\r",
            ('\t', _) => out += "\\t",
            ('\x0b', _) => out += "\\v",
            (_, n) if n < 0x20 || n == 0x7f => out += &format!("\\x{n:02x}"),
            (_, n) if n < 0x7f || is_printable(c) => out.push(c),
            (_, n @ ..0x10000) => out += &format!("\\u{n:04x}"),
            (_, n) => out += &format!("\\U{n:08x}"),
        }
    }
    out.push('"');
    out
}

/// Whether a character is a letter, mark, number, punctuation or symbol. After another character, `escape_debug` leaves
/// exactly these.
fn is_printable(c: char) -> bool {
    let pair: String = ['a', c].into_iter().collect();
    pair.escape_debug().nth(1) == Some(c)
}

#[cfg(test)]
mod tests {
    use super::{SHOWN, go_quote};

    #[test]
    fn long_names_are_cut() {
        let quoted = go_quote(&"é".repeat(SHOWN));
        assert_eq!(quoted, format!("\"{}…\"", "é".repeat(SHOWN / 2)));
    }

    #[test]
    fn quotes_as_go_does() {
        let cases = [
            ("tag:a_b", "\"tag:a_b\""),
            ("a\"b\\c'd`", "\"a\\\"b\\\\c'd`\""),
            ("\0\x07\x08\x0c\n\r\t\x0b\x1f\x7f", "\"\\x00\\a\\b\\f\\n\\r\\t\\v\\x1f\\x7f\""),
            ("é日e\u{301}😀\u{fffd}", "\"é日e\u{301}😀\u{fffd}\""),
            ("\u{301}", "\"\u{301}\""),
            ("a\u{200d}\u{a0}\u{ad}\u{2028}\u{80}", "\"a\\u200d\\u00a0\\u00ad\\u2028\\u0080\""),
            ("\u{e000}\u{e0001}", "\"\\ue000\\U000e0001\""),
        ];
        for (text, quoted) in cases {
            assert_eq!(go_quote(text), quoted);
        }
    }
}
