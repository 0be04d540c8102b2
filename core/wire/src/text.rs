//! Text of strangers: names of hosts and users, answers of servers.

/// Whether a character is not itself shown, but steers how others are: control characters, line and paragraph separators,
/// what turns the direction of text (Unicode's bidi controls, UAX #9), and the invisible ones that make two texts look
/// alike. Joiners are no such character, because scripts and emoji need them.
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::steers;

    #[test]
    fn what_is_shown_does_not_steer() {
        let shown = "aé日本 \u{a0}\u{200c}\u{200d}👩\u{200d}🚀e\u{301}";
        assert_eq!(shown.chars().find(|c| steers(*c)), None);
    }

    #[test]
    fn controls_separators_directions_and_the_invisible_steer() {
        for c in "\0\n\t\u{1b}\u{7f}\u{9b}\u{61c}\u{200b}\u{200e}\u{200f}\u{2028}\u{2029}\u{202e}\u{2066}\u{2069}\u{feff}".chars() {
            assert!(steers(c), "{}", c.escape_unicode());
        }
    }
}
