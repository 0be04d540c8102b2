//! Durations as written in the configuration file and on the command line.
//!
//! One parser accepts both Go's notation (`1h30m`, `1.5s`, `250ms`) and that of Prometheus (`180d`, `1y`, `2w3d`).

use std::time::Duration;

const NANOS_PER_SEC: u128 = 1_000_000_000;
const HOUR: u128 = 3600 * NANOS_PER_SEC;

/// Unit names and their length in nanoseconds. A year has 365 days, as in Prometheus.
const UNITS: &[(&str, u128)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", NANOS_PER_SEC),
    ("m", 60 * NANOS_PER_SEC),
    ("h", HOUR),
    ("d", 24 * HOUR),
    ("w", 7 * 24 * HOUR),
    ("y", 365 * 24 * HOUR),
];

/// Parses a duration; only `0` may have no unit.
///
/// # Errors
/// A message that quotes the text and says what is wrong with it.
pub fn parse(text: &str) -> Result<Duration, String> {
    let bad =
        |why: &str| format!("`{text}` is not a duration: {why}; write it as `90s`, `30m`, `12h` or `180d`");
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(bad("it is empty"));
    }
    if rest.starts_with('-') {
        return Err(bad("it is negative"));
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        if unit.is_empty() {
            return Err(bad("the unit is missing"));
        }
        let Some((_, size)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(bad("the unit is unknown"));
        };
        let part = scaled(number, *size).ok_or_else(|| bad("the number is malformed"))?;
        total = total.checked_add(part).ok_or_else(|| bad("it is too long"))?;
        rest = tail;
    }
    let secs = i64::try_from(total / NANOS_PER_SEC).map_err(|_| bad("it is too long"))?;
    // Clients hold durations as Go does, in 64 bits of nanoseconds: at most 292 years.
    if total > i64::MAX as u128 {
        return Err(bad("it is too long"));
    }
    Ok(Duration::new(secs.unsigned_abs(), (total % NANOS_PER_SEC) as u32))
}

/// `number` (decimal digits with at most one point) times `size` nanoseconds, rounded down.
fn scaled(number: &str, size: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || whole.len() > 20 {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = whole.checked_mul(size)?;
    let mut step = size;
    for digit in fraction.chars() {
        step /= 10;
        nanos = nanos.checked_add(step.checked_mul(u128::from(digit.to_digit(10)?))?)?;
    }
    Some(nanos)
}

/// Formats a duration as Go's `Duration.String` does: `1h30m0s`, `1.5s`, `250ms`, `0s`.
pub fn go_style(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    if nanos < NANOS_PER_SEC {
        let (unit, size) = match nanos {
            0..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{}{unit}", decimal(nanos, size));
    }
    let secs = nanos / NANOS_PER_SEC;
    let (hours, minutes) = (secs / 3600, secs / 60 % 60);
    let seconds = decimal(nanos % (60 * NANOS_PER_SEC), NANOS_PER_SEC);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// `nanos / size` in decimal, without trailing zeros.
fn decimal(nanos: u128, size: u128) -> String {
    let (whole, rest) = (nanos / size, nanos % size);
    if rest == 0 {
        return whole.to_string();
    }
    let width = size.ilog10() as usize;
    let fraction = format!("{rest:0width$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_and_prometheus_notation_are_parsed() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
            (".5s", 500),
            ("250ms", 250),
            ("2m", 120_000),
            ("180d", 180 * 86_400_000),
            ("1y", 365 * 86_400_000),
            ("1w2d", 9 * 86_400_000),
            ("1d12h", 36 * 3_600_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse("3us"), parse("3µs"));
        assert_eq!(parse("1.000000001s"), Ok(Duration::new(1, 1)));
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let why = |text: &str| parse(text).unwrap_err();
        assert_eq!(
            why("30"),
            "`30` is not a duration: the unit is missing; write it as `90s`, `30m`, `12h` or `180d`"
        );
        assert!(why("5 m").contains("unit is unknown"));
        assert!(why("5parsecs").contains("unit is unknown"));
        assert!(why("").contains("empty"));
        assert!(why("-5s").contains("negative"));
        assert!(why("s").contains("number is malformed"));
        assert!(why("1.2.3s").contains("number is malformed"));
        assert!(why("..s").contains("number is malformed"));
        assert!(why("300y").contains("too long"));
        assert!(why("99999999999999999999999999y").contains("malformed"));
    }

    #[test]
    fn durations_are_formatted_as_in_go() {
        for (millis, text) in [
            (0, "0s"),
            (250, "250ms"),
            (1_500, "1.5s"),
            (90_000, "1m30s"),
            (3_600_000, "1h0m0s"),
            (10_800_000, "3h0m0s"),
            (5_405_020, "1h30m5.02s"),
        ] {
            assert_eq!(go_style(Duration::from_millis(millis)), text);
        }
        assert_eq!(go_style(Duration::from_nanos(1_500)), "1.5µs");
        assert_eq!(go_style(Duration::from_nanos(7)), "7ns");
    }
}
