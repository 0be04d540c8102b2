//! Untrusted text, such as host names, user names and the responses of other servers.

/// Whether a character is invisible and changes how the text around it is displayed: control characters, line and
/// paragraph separators, bidirectional controls (UAX #9), and invisible characters that make two different texts look
/// alike. Joiners are allowed, because some scripts and emoji need them.
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::steers;

    #[test]
    fn visible_text_has_no_steering_characters() {
        let shown = "aé日本 \u{a0}\u{200c}\u{200d}👩\u{200d}🚀e\u{301}";
        assert_eq!(shown.chars().find(|c| steers(*c)), None);
    }

    #[test]
    fn control_separator_bidi_and_invisible_characters_steer() {
        for c in "\0\n\t\u{1b}\u{7f}\u{9b}\u{61c}\u{200b}\u{200e}\u{200f}\u{2028}\u{2029}\u{202e}\u{2066}\u{2069}\u{feff}".chars() {
            assert!(steers(c), "{}", c.escape_unicode());
        }
    }
}
