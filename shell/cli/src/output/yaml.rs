//! Writes YAML for programs, including scripts that read it line by line: every scalar is on one line, after its key. The
//! layout is that of Go's encoders.

use serde_json::{Map, Value};

/// Writes a value as a YAML 1.2.2 document that YAML 1.1 parsers read the same way. It ends with a line break.
pub fn write(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => fields(map, 0, &mut out),
        Value::Array(list) if !list.is_empty() => items(list, 0, &mut out),
        _ => {
            out.push_str(&scalar(value));
            out.push('\n');
        }
    }
    out
}

/// Writes the fields of an object; the first one continues the current line.
fn fields(map: &Map<String, Value>, indent: usize, out: &mut String) {
    for (n, (key, value)) in map.iter().enumerate() {
        if n > 0 {
            pad(indent, out);
        }
        out.push_str(&text(key));
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                pad(indent + 2, out);
                fields(map, indent + 2, out);
            }
            Value::Array(list) if !list.is_empty() => {
                out.push('\n');
                pad(indent, out);
                items(list, indent, out);
            }
            _ => {
                out.push(' ');
                out.push_str(&scalar(value));
                out.push('\n');
            }
        }
    }
}

/// Writes the items of a list; the first one continues the current line.
fn items(list: &[Value], indent: usize, out: &mut String) {
    for (n, value) in list.iter().enumerate() {
        if n > 0 {
            pad(indent, out);
        }
        out.push_str("- ");
        match value {
            Value::Object(map) if !map.is_empty() => fields(map, indent + 2, out),
            Value::Array(list) if !list.is_empty() => items(list, indent + 2, out),
            _ => {
                out.push_str(&scalar(value));
                out.push('\n');
            }
        }
    }
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// Writes a value without children. Except for strings, JSON's spelling is valid YAML.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(s) => text(s),
        other => other.to_string(),
    }
}

fn text(s: &str) -> String {
    if is_plain(s) { s.to_owned() } else { quoted(s) }
}

/// Whether every YAML parser reads the text as a string even without quotes: it starts like a name or an address, contains
/// no YAML syntax, and is not a keyword or number in YAML 1.1.
fn is_plain(s: &str) -> bool {
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let inner = |c: char| c.is_alphanumeric() || "_-./@+=,()` '*~;%$^?!".contains(c);
    let no_syntax = s.chars().all(|c| inner(c) || c == ':')
        && !s.ends_with([':', ' '])
        && !s.contains(": ")
        && !WORDS.iter().any(|w| w.eq_ignore_ascii_case(s));
    let starts_like_name = s.starts_with(|c: char| c.is_alphabetic() || c == '/' || c == '_');
    no_syntax && (starts_like_name || is_dotted_quad(s))
}

/// Whether the text is an IPv4 address or prefix, which starts like a number but is not one.
fn is_dotted_quad(s: &str) -> bool {
    let (address, bits) = s.split_once('/').unwrap_or((s, "0"));
    address.parse::<std::net::Ipv4Addr>().is_ok() && bits.parse::<u8>().is_ok()
}

/// The text in double quotes, escaped so that it stays on one line.
fn quoted(s: &str) -> String {
    let mut out = String::from("\"");
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            // Characters that YAML does not allow unescaped, line breaks, and bidirectional controls.
            c if headsail_wire::text::steers(c) || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                out.push_str(&match u32::from(c) {
                    code @ ..=0xff => format!("\\x{code:02x}"),
                    code => format!("\\u{code:04x}"),
                });
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Text that YAML parsers are known to misread, separated by `¦`.
    const AWKWARD: [&str; 8] = [
        "¦ ¦a¦a ¦ a¦-¦- a¦---¦--- a¦...¦?¦? a¦:¦a:¦a: b¦a:b¦:a¦#¦a #b¦a#b¦&a¦*a¦!a¦!!str a¦|¦>¦",
        ">-¦'¦''¦'a'¦\"¦\"a\"¦\\¦%a¦@a¦`a`¦{¦}¦{a: b}¦[a]¦[¦]¦,¦a, b¦y¦Y¦n¦N¦yes¦No¦on¦OFF¦true¦",
        "False¦null¦Null¦NULL¦~¦1¦-1¦+1¦0¦00¦007¦0o7¦0x1f¦0b1¦1.5¦1.¦.5¦1e3¦1E-3¦1_000¦1:30¦",
        "190:20:30¦.inf¦-.INF¦.nan¦2026-01-31¦2026-01-31T12:00:00Z¦100.64.0.1¦10.0.0.0/8¦::1¦",
        "::/0¦fd7a:115c:a1e0::1¦fd7a:115c:a1e0::¦fd7a:115c:a1e0::/48¦=¦<<¦a\nb¦a\n¦\n¦\n\n a¦",
        "a\r\nb¦\t¦a\tb¦\u{0}¦\u{1b}[2J¦\u{7f}¦\u{85}¦\u{a0}¦\u{2028}¦\u{202e}abc¦\u{feff}a¦日本¦é¦",
        "🦀¦Joe's Mac¦it is `x`; say \"y\"¦there is no user `x`¦infinity¦nan¦NaN¦inf¦e3¦_1¦0x¦1e¦",
        "+¦1,2¦a,b¦=a¦(a)¦a  b",
    ];

    /// [`AWKWARD`], and long text that other encoders fold.
    fn awkward() -> Vec<String> {
        let long = [
            "hskey-auth-abcdefghijkm-".to_owned() + &"0".repeat(64),
            "word ".repeat(200) + "end",
            "x".repeat(5000),
        ];
        AWKWARD.concat().split('¦').map(str::to_owned).chain(long).collect()
    }

    #[test]
    fn every_string_round_trips_on_one_line() {
        for s in awkward() {
            let document = write(&json!({ "key": s }));
            assert_eq!(document.lines().count(), 1, "{document}");
            assert!(document.starts_with("key: ") && document.ends_with('\n'), "{document}");
            let back: Value = serde_saphyr::from_str(&document).unwrap_or_else(|e| panic!("{document}: {e}"));
            assert_eq!(back, json!({ "key": s }), "{document}");
            let alone: Value = serde_saphyr::from_str(&write(&json!(s))).unwrap();
            assert_eq!(alone, json!(s));
            let listed: Value = serde_saphyr::from_str(&write(&json!([s, [s]]))).unwrap();
            assert_eq!(listed, json!([s, [s]]));
        }
    }

    #[test]
    fn awkward_keys_round_trip() {
        for s in awkward().into_iter().filter(|s| s.len() < 200) {
            let value = json!({ s.clone(): { s.clone(): [s] } });
            let document = write(&value);
            let back: Value = serde_saphyr::from_str(&document).unwrap_or_else(|e| panic!("{document}: {e}"));
            assert_eq!(back, value, "{document}");
        }
    }

    #[test]
    fn strings_that_a_parser_could_misread_are_quoted() {
        for s in [
            "no",
            "Y",
            "1",
            "1e3",
            "1_000",
            "0x1f",
            "1:30",
            "2026-01-31T12:00:00Z",
            "null",
            "~",
            ".inf",
            "-1",
            "",
        ] {
            assert_eq!(write(&json!(s)), format!("\"{s}\"\n"));
        }
        for s in [
            "hskey-api-x",
            "10.0.0.0/8",
            "100.64.0.1",
            "fd7a:115c:a1e0::1",
            "tag:web",
            "alice@example.com",
            "there is `x`",
        ] {
            assert_eq!(write(&json!(s)), format!("{s}\n"));
        }
    }

    #[test]
    fn the_layout_matches_go_encoders() {
        let value = json!({"id": "1", "tags": ["tag:a", "tag:b"], "none": [], "empty": {}, "user": {"name": "bob", "n": null},
            "on": true, "list": [{"a": 1, "b": [2, 3]}, {"c": {"d": -1.5}}], "deep": [[1], [[2]]]});
        let expected = "id: \"1\"\ntags:\n- tag:a\n- tag:b\nnone: []\nempty: {}\nuser:\n  name: bob\n  \"n\": null\n\"on\": true\n\
            list:\n- a: 1\n  b:\n  - 2\n  - 3\n- c:\n    d: -1.5\ndeep:\n- - 1\n- - - 2\n";
        assert_eq!(write(&value), expected);
        assert_eq!(serde_saphyr::from_str::<Value>(expected).unwrap(), value);
        assert_eq!(write(&json!([])), "[]\n");
        assert_eq!(write(&json!({})), "{}\n");
    }
}
