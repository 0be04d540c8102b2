//! DNS labels of nodes, derived from host names the way the official service does (util/dnsname).

/// Longest DNS label.
pub const MAX_LABEL: usize = 63;
/// The label of a node whose host name has no usable characters.
const NAMELESS: &str = "node";

/// Turns any host name into a valid DNS label.
///
/// Suffixes of local networks are removed. The first 63 bytes of the rest are trimmed so that they start and end with a
/// letter or digit. Space, `.`, `@` and `_` become `-`, and all other characters that a label cannot contain are dropped.
pub fn label_of(hostname: &str) -> String {
    let name = hostname.trim();
    let name = [".local", ".localdomain", ".lan"].iter().find_map(|s| name.strip_suffix(s)).unwrap_or(name);
    let bytes = &name.as_bytes()[..name.len().min(MAX_LABEL)];
    let start = bytes.iter().position(u8::is_ascii_alphanumeric).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(u8::is_ascii_alphanumeric).map_or(start, |i| i + 1);
    let label: String = bytes[start..end]
        .iter()
        .filter_map(|b| match b {
            b' ' | b'.' | b'@' | b'_' | b'-' => Some('-'),
            b if b.is_ascii_alphanumeric() => Some(b.to_ascii_lowercase() as char),
            _ => None,
        })
        .collect();
    let label = label.trim_matches('-');
    if label.is_empty() { NAMELESS.to_owned() } else { label.to_owned() }
}

/// The first of `label`, `label-1`, `label-2` … that is not taken, shortened so that it remains a valid label.
pub fn unique(label: &str, taken: impl Fn(&str) -> bool) -> String {
    if !taken(label) {
        return label.to_owned();
    }
    let mut n = 1u64;
    loop {
        let suffix = format!("-{n}");
        let stem =
            label.get(..label.len().min(MAX_LABEL - suffix.len())).unwrap_or(label).trim_end_matches('-');
        let candidate = format!("{stem}{suffix}");
        if !taken(&candidate) {
            return candidate;
        }
        n += 1;
    }
}

/// Checks a node name that an administrator chose.
///
/// # Errors
/// A sentence that says which rule the name breaks.
pub fn check(name: &str) -> Result<(), String> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let rule = if name.is_empty() {
        "must not be empty"
    } else if name.len() > MAX_LABEL {
        "must have at most 63 characters"
    } else if !name.bytes().all(inner) {
        "may contain only lower-case letters, digits and `-`"
    } else if !edge(name.as_bytes().first()) || !edge(name.as_bytes().last()) {
        "must start and end with a letter or a digit"
    } else {
        return Ok(());
    };
    Err(format!("node name `{name}` {rule}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn unusual_hostnames_become_valid_labels() {
        for (hostname, label) in [
            ("Joe's Mac mini", "joes-mac-mini"),
            ("Test@Host", "test-host"),
            ("mail.server", "mail-server"),
            ("desk.local", "desk"),
            ("--x--", "x"),
            ("日本", "node"),
            ("", "node"),
            ("a", "a"),
        ] {
            assert_eq!(label_of(hostname), label, "{hostname}");
        }
        assert_eq!(label_of(&"x".repeat(64)), "x".repeat(63));
    }

    #[test]
    fn a_taken_name_gets_a_numeric_suffix_and_remains_a_valid_label() {
        let taken = ["web", "web-1"];
        assert_eq!(unique("web", |n| taken.contains(&n)), "web-2");
        let long = "y".repeat(63);
        assert_eq!(unique(&long, |n| n == long), format!("{}-1", "y".repeat(61)));
    }

    proptest! {
        #[test]
        fn every_hostname_gives_a_valid_label(hostname in "\\PC{0,80}") {
            prop_assert_eq!(check(&label_of(&hostname)), Ok(()));
        }
    }
}
